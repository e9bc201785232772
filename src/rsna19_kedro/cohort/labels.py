"""Label CSVs of millions of rows, read and checked in seconds."""

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
from rsna19_kedro.errors import DamagedFileError, SourceError

logger = logging.getLogger(__name__)

_N = len(CLASSES)
_SHOWN = 5


@dataclass(frozen=True)
class LabelFindings:
    """What was odd in a label CSV.

    Attributes:
        file: Its name.
        rows: Data rows.
        equal_duplicates: Rows that repeat an earlier one with the same label; dropped.
        duplicated_slices: Slices that such rows belong to.
        any_mismatch: Slices whose ``any`` is not the maximum of the five types; kept as is.
    """

    file: str
    rows: int
    equal_duplicates: int
    duplicated_slices: list[str]
    any_mismatch: list[str]


def read_label_csv(path: Path) -> tuple[pd.DataFrame, LabelFindings]:
    """Read labels, in Kaggle's form or with one row a slice.

    Args:
        path: CSV with the columns ``ID,Label`` where ID is ``<SOPInstanceUID>_<class>`` and
            every slice has a row for each class, or ``sop_instance_uid`` and a column for
            each class.

    Returns:
        ``sop_instance_uid`` and six uint8 columns, one row a slice in the order of their
        first appearance, and what was odd.

    Raises:
        DamagedFileError: Other columns, no rows, an unknown class, a class missing for a slice, a
            label that is not 0 or 1, or rows that contradict each other.
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
    twice = np.bincount(slices[repeated], minlength=len(uids)) > 0
    return labels, LabelFindings(
        file=path.name,
        rows=table.num_rows,
        equal_duplicates=int(repeated.sum()) if kaggle else table.num_rows - len(uids),
        duplicated_slices=uids[twice].tolist(),
        any_mismatch=uids[mismatch].tolist(),
    )


def read_download_labels(
    download: Download, slice_index: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read the label CSV of a download.

    Args:
        download: Where the CSV is.
        slice_index: Slices that the labels should belong to.

    Returns:
        The table of ``read_label_csv``, and the fields of ``LabelFindings``.

    Raises:
        SourceError: No CSV, or one that does not name a single training slice.
        DamagedFileError: See ``read_label_csv``.
    """
    if download.label_csv is None:
        looked_for = ", ".join(map(str, download.looked_for)) or "ingestion: own_data: labels_csv"
        raise SourceError(f"There is no CSV with labels. Looked for: {looked_for}.")
    labels, findings = read_label_csv(download.label_csv)
    train = slice_index.loc[slice_index["subset"] == "train", "sop_instance_uid"].dropna()
    if not train.astype(object).isin(labels["sop_instance_uid"].astype(object)).any():
        raise SourceError(
            f"{download.label_csv} names {len(labels)} slices, such as "
            f"{labels['sop_instance_uid'].iloc[0]}, but none of the {len(train)} training files, "
            f"such as {train.iloc[0]}. Does the CSV belong to these files?"
        )
    logger.info("%d slices have labels in %s", len(labels), findings.file)
    return labels, asdict(findings)


def read_label_uids(path: Path) -> set[str]:
    """SOPInstanceUIDs that a label CSV names, without looking at its labels.

    Raises:
        DamagedFileError: As ``read_label_csv`` for the columns and class names.
    """
    table = _read(path)
    if "ID" not in table.column_names:
        raise DamagedFileError(
            f"{path} has the columns {', '.join(table.column_names)}; expected ID and Label."
        )
    return set(_split_ids(table["ID"], path)[0])


def _read(path: Path) -> pa.Table:
    text = {"ID": pa.string(), "sop_instance_uid": pa.string()}  # 1.20 is a UID, not a number
    options = csv.ConvertOptions(column_types=text, strings_can_be_null=True)
    try:
        table = csv.read_csv(path, convert_options=options)
    except pa.ArrowInvalid as error:
        raise DamagedFileError(
            f"{path} cannot be read as a CSV: {error}. Expected the columns ID,Label."
        ) from error
    table = table.rename_columns([name.strip("\ufeff ") for name in table.column_names])
    if table.num_rows == 0:
        raise DamagedFileError(f"{path} has no rows, but six labels a slice are expected.")
    return table


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.utf8_trim_whitespace(pc.fill_null(column.cast(pa.string()), ""))


def _split_ids(
    ids: pa.ChunkedArray, path: Path
) -> tuple["pd.Series[str]", NDArray[np.intp], NDArray[np.intp]]:
    """Unique SOPInstanceUIDs, and for each row the number of its slice and class."""
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
    """Labels as (slices, 6), and which rows repeat an earlier one."""
    cells = slices.astype(np.int64) * _N + classes
    rows = np.bincount(cells, minlength=len(uids) * _N)
    positive = np.bincount(cells, weights=values, minlength=len(uids) * _N)
    conflict = (positive > 0) & (positive < rows)
    if conflict.any():
        raise DamagedFileError(
            f"{path}: {conflict.sum()} labels are given both as 0 and as 1: "
            f"{_cells(uids, conflict)}. Correct the file: each slice and class has one label."
        )
    if (rows == 0).any():
        raise DamagedFileError(
            f"{path}: {(rows == 0).sum()} labels are missing: {_cells(uids, rows == 0)}. Every "
            "slice needs a row for each of the six classes. Is the file cut off?"
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
