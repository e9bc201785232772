"""Fast reading and checking of label CSVs with millions of rows."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from rsna19_kedro.cohort.download import Download
from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.errors import DamagedFileError, SourceError, counted

logger = logging.getLogger(__name__)

_N = len(CLASSES)
_SHOWN = 5


@dataclass(frozen=True)
class LabelFindings:
    """Irregularities of a label CSV.

    Attributes:
        file: Name of the CSV.
        rows: Number of data rows.
        equal_duplicates: Rows that repeat an earlier one with the same label; dropped.
        duplicated_slices: Slices of these rows.
        any_mismatch: Slices whose ``any`` is not the maximum of the five types; unchanged.
    """

    file: str
    rows: int
    equal_duplicates: int
    duplicated_slices: list[str]
    any_mismatch: list[str]


def read_label_csv(path: Path) -> tuple[pd.DataFrame, LabelFindings]:
    """Read labels, in Kaggle's form or with one row per slice.

    Args:
        path: CSV with the columns ``ID,Label``, where ID is ``<SOPInstanceUID>_<class>`` and
            every slice has one row per class, or with ``sop_instance_uid`` and one column per
            class.

    Returns:
        ``sop_instance_uid`` and six uint8 columns, one row per slice in the order of first
        appearance, and the irregularities.

    Raises:
        DamagedFileError: Unexpected columns, no rows, an unknown class, a missing class of a
            slice, a label that is not 0 or 1, or contradicting rows.
    """
    table = _read(path)
    names = set(table.column_names)
    kaggle = names == {"ID", "Label"}
    if kaggle:
        uids, slices, classes = _split_ids(table["ID"], path)
        values = _zero_or_one(table["Label"], path, table["ID"])
    elif names == {"sop_instance_uid", *CLASSES}:
        column = _text(table["sop_instance_uid"])
        coded = column.dictionary_encode().combine_chunks()
        uids = coded.dictionary.to_pandas()
        slices = np.repeat(coded.indices.to_numpy(zero_copy_only=False), _N)
        classes = np.tile(np.arange(_N), table.num_rows)
        values = np.stack(
            [_zero_or_one(table[name], path, column) for name in CLASSES], axis=1
        ).ravel()
    else:
        raise DamagedFileError(
            f"{path} has the columns {', '.join(table.column_names)}; expected ID and Label "
            f"(Kaggle's form) or sop_instance_uid, {', '.join(CLASSES)}."
        )
    matrix, repeated = _fill(uids, slices, classes, values, path)
    labels = pd.DataFrame({"sop_instance_uid": uids})
    labels[list(CLASSES)] = matrix
    mismatch = matrix[:, :-1].max(axis=1) != matrix[:, -1]
    duplicated = np.bincount(slices[repeated], minlength=len(uids)) > 0
    return labels, LabelFindings(
        file=path.name,
        rows=table.num_rows,
        equal_duplicates=int(repeated.sum()) if kaggle else table.num_rows - len(uids),
        duplicated_slices=uids[duplicated].tolist(),
        any_mismatch=uids[mismatch].tolist(),
    )


def read_download_labels(
    download: Download, slice_index: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read the label CSV of a download.

    Args:
        download: Download that contains the CSV.
        slice_index: Slices that the labels belong to.

    Returns:
        The table of ``read_label_csv``, and the fields of ``LabelFindings``.

    Raises:
        SourceError: There is no CSV, or it contains no training slice.
        DamagedFileError: See ``read_label_csv``.
    """
    if download.label_csv is None:
        looked_for = ", ".join(map(str, download.looked_for)) or "ingestion: own_data: labels_csv"
        raise SourceError(f"There is no CSV with labels. Looked for: {looked_for}.")
    labels, findings = read_label_csv(download.label_csv)
    train = slice_index.loc[slice_index["subset"] == "train", "sop_instance_uid"].dropna()
    if not train.astype(object).isin(labels["sop_instance_uid"].astype(object)).any():
        raise SourceError(
            f"{download.label_csv} contains {counted(len(labels), 'slice')}, such as "
            f"{labels['sop_instance_uid'].iloc[0]}, but none of the {len(train)} training files, "
            f"such as {train.iloc[0]}. Does the CSV belong to these files?"
        )
    logger.info("Labels of %s in %s", counted(len(labels), "slice"), findings.file)
    return labels, asdict(findings)


def read_label_uids(path: Path) -> set[str]:
    """Return the SOPInstanceUIDs of a label CSV without reading its labels.

    Raises:
        DamagedFileError: Unexpected columns or class names, see ``read_label_csv``.
    """
    table = _read(path)
    if "ID" not in table.column_names:
        raise DamagedFileError(
            f"{path} has the columns {', '.join(table.column_names)}; expected ID and Label."
        )
    return set(_split_ids(table["ID"], path)[0])


def _read(path: Path) -> pa.Table:
    text = {"ID": pa.string(), "sop_instance_uid": pa.string()}  # 1.20 is a UID, not a number.
    options = csv.ConvertOptions(column_types=text, strings_can_be_null=True)
    try:
        table = csv.read_csv(path, convert_options=options)
    except pa.ArrowInvalid as error:
        raise DamagedFileError(
            f"{path} cannot be read as a CSV: {error}. Expected the columns ID,Label."
        ) from error
    table = table.rename_columns([name.strip("\ufeff ") for name in table.column_names])
    if table.num_rows == 0:
        raise DamagedFileError(f"{path} has no rows; expected six labels per slice.")
    return table


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.utf8_trim_whitespace(pc.fill_null(column.cast(pa.string()), ""))


def _split_ids(
    ids: pa.ChunkedArray, path: Path
) -> tuple["pd.Series[str]", NDArray[np.intp], NDArray[np.intp]]:
    """Return the unique SOPInstanceUIDs, and the slice and class number of each row."""
    text = _text(ids)
    classes = np.full(len(text), -1, dtype=np.intp)
    for number, name in enumerate(CLASSES):
        hit = pc.ends_with(text, f"_{name}").to_numpy(zero_copy_only=False)
        classes[hit] = number
    if (classes < 0).any():
        wrong = np.flatnonzero(classes < 0)
        shown = _first([repr(str(text[int(i)])) for i in wrong[: _SHOWN + 1]])
        raise DamagedFileError(
            f"{path}: {len(wrong)} IDs do not end with a known class: {shown}. "
            f"Expected <SOPInstanceUID>_<class> with one of {', '.join(CLASSES)}."
        )
    stem = pc.replace_substring_regex(text, pattern=_CLASS_ENDING, replacement="")
    coded = stem.dictionary_encode().combine_chunks()
    return coded.dictionary.to_pandas(), coded.indices.to_numpy(zero_copy_only=False), classes


_CLASS_ENDING = "_(" + "|".join(CLASSES) + ")$"


def _zero_or_one(labels: pa.ChunkedArray, path: Path, ids: pa.ChunkedArray) -> NDArray[np.uint8]:
    try:
        values = labels.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        values = pd.to_numeric(labels.to_pandas(), errors="coerce").to_numpy(dtype=float)
    wrong = np.flatnonzero(~np.isin(values, (0.0, 1.0)))
    if len(wrong):
        shown = ", ".join(f"{ids[int(i)]}: {labels[int(i)]}" for i in wrong[:_SHOWN])
        raise DamagedFileError(
            f"{path}: {len(wrong)} labels are not 0 or 1, such as {shown}. Is it a submission "
            "instead of the labels?"
        )
    return np.asarray(values.astype(np.uint8))


def _fill(
    uids: "pd.Series[str]",
    slices: NDArray[np.intp],
    classes: NDArray[np.intp],
    values: NDArray[np.uint8],
    path: Path,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the labels as (slices, 6), and which rows repeat an earlier one."""
    cells = slices.astype(np.int64) * _N + classes
    rows = np.bincount(cells, minlength=len(uids) * _N)
    positive = np.bincount(cells, weights=values, minlength=len(uids) * _N)
    conflict = (positive > 0) & (positive < rows)
    if conflict.any():
        raise DamagedFileError(
            f"{path}: {conflict.sum()} labels are both 0 and 1: {_cells(uids, conflict)}. "
            "Correct the file: each slice and class has one label."
        )
    if (rows == 0).any():
        raise DamagedFileError(
            f"{path}: {(rows == 0).sum()} labels are missing: {_cells(uids, rows == 0)}. Every "
            "slice needs one row for each of the six classes. Is the file truncated?"
        )
    repeated = np.ones(len(cells), dtype=bool)
    repeated[np.unique(cells, return_index=True)[1]] = False
    return (positive > 0).astype(np.uint8).reshape(-1, _N), repeated


def _cells(uids: "pd.Series[str]", marked: NDArray[np.bool_]) -> str:
    return _first(
        [f"{uids.iloc[i // _N]}_{CLASSES[i % _N]}" for i in np.flatnonzero(marked)[: _SHOWN + 1]]
    )


def _first(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
