"""The slice index: usable slices of all studies, numbered from feet to head."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsna19_kedro.contracts import ORIENTATION, POSITION
from rsna19_kedro.ct.geometry import order_slices, study_geometry, valid_orientation
from rsna19_kedro.ct.turning import turn_geometry
from rsna19_kedro.dicom.copies import IN_SERIES, find_copies
from rsna19_kedro.dicom.headers import (
    COLUMNS,
    INTEGER_TAGS,
    SERIES_TAGS,
    TEXT_TAGS,
    TRUNCATED,
)
from rsna19_kedro.dicom.series import STACK, pick_series
from rsna19_kedro.dicom.stacks import split_stacks, stray_images
from rsna19_kedro.errors import SourceError, counted

SUBSETS: Final = ("train", "test", "test2")
"""Stage-1 train, stage-1 test (labelled since stage 2), stage-2 test."""


_TEXT = pd.StringDtype(storage="pyarrow", na_value=np.nan)
_TYPES: Final[dict[str, Any]] = {
    **dict.fromkeys(("subset", "path", "transfer_syntax_uid", "problem"), _TEXT),
    **dict.fromkeys((*TEXT_TAGS, *SERIES_TAGS), _TEXT),
    **dict.fromkeys((*INTEGER_TAGS, "frame"), "Int32"),
}
_ONLY_FOR_CHOICE: Final = [
    *SERIES_TAGS,
    *("acquisition_number", "series_number", "contrast_volume_ml", "stack"),
]
"""Columns not kept in the slice index; free text may identify the patient."""
_GEOMETRY = ("position_mm", "row_offset_mm", "col_offset_mm", "tilt_deg")
_ORDER: Final = (
    *("sop_instance_uid", "study_id", "patient_id", "series_instance_uid", "slice_num"),
    *("subset", "path", "problem", *_GEOMETRY, "row_spacing_mm", "col_spacing_mm"),
)


def headers_table(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Turn header rows into a table with fixed, compact column types.

    Args:
        rows: Rows of ``rsna19_kedro.dicom.headers.read_headers``, with ``subset``.

    Returns:
        Text as strings, whole numbers as nullable Int32, other numbers as float64.
    """
    columns = {}
    for name in ("subset", "path", *COLUMNS):
        values = [row.get(name) for row in rows]
        empty = values.count(None) == len(rows)  # True for most columns of the challenge's files.
        columns[name] = pd.Series(
            None if empty else values, index=range(len(rows)), dtype=_TYPES.get(name, "float64")
        )
    return pd.DataFrame(columns)


def number_slices(headers: pd.DataFrame, root: Path, *, training: bool = True) -> pd.DataFrame:
    """Exclude unusable slices and number the others of each study from feet to head.

    Combines ``choose_slices`` and ``number_chosen``.
    """
    return number_chosen(choose_slices(headers, root, training=training)[0])


def choose_slices(
    headers: pd.DataFrame,
    root: Path,
    *,
    training: bool,
    refused: Mapping[int, str] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Choose one stack of slices per study, and record why all other files are not used.

    Unused files keep their rows, with the reason in ``problem``. One file of several copies is
    used (see ``copies.find_copies``), stray images of a series are set aside (see
    ``stacks.stray_images``), and the best of several stacks of a study is used (see
    ``series.pick_series``). Images are turned as in a supine head-first scan.

    Args:
        headers: Table of ``headers_table``, in any order.
        root: Folder that ``path`` is relative to.
        training: Whether the slices have labels, which are by SOPInstanceUID: each
            SOPInstanceUID must identify one image, and studies without usable geometry are kept.
        refused: Why the pixels of a stack cannot be used, by row of the stacks of an earlier call.

    Returns:
        The table, sorted by path, with ``turn``; positions, orientations, spacings and sizes are
        those of the turned images (see ``turn_geometry``). And the stacks of all studies.

    Raises:
        SourceError: Two patients share a StudyInstanceUID or, for training, a SOPInstanceUID.
    """
    table = headers.sort_values(["path", "frame"], ignore_index=True)
    _fill_patients(table)
    _refuse_shared(table, "study_id", "StudyInstanceUID")
    if training:
        _refuse_shared(table, "sop_instance_uid", "SOPInstanceUID")
        _refuse_frames(table)
    _mark_copies(table, root, by_uid=training)
    table = turn_geometry(table)
    return table, _choose(table, not training, refused or {})


def number_chosen(table: pd.DataFrame) -> pd.DataFrame:
    """Number the slices of each study from feet to head.

    Args:
        table: See ``choose_slices``. Slices with truncated pixels are numbered too, so that
            slice numbers and labels stay aligned.

    Returns:
        One row per file or frame, sorted by study and slice number, with ``slice_num`` (Int64,
        0-based, null for unused files), ``position_mm`` along the normal, ``row_offset_mm`` and
        ``col_offset_mm`` (see ``StudyGeometry``; null if a position or orientation of the study
        is missing) and ``tilt_deg`` (null if not axial).
    """
    usable = _usable(table).to_numpy()
    slice_num = np.full(len(table), -1, dtype=np.int64)
    geometry = {name: np.full(len(table), np.nan) for name in _GEOMETRY}
    # Selecting a study's rows is much faster in arrays than in tables.
    numbers = (POSITION, ORIENTATION, ["slice_location_mm", "instance_number"])
    arrays = [table[names].to_numpy(dtype=float) for names in numbers]
    arrays.append(table[["sop_instance_uid", "path"]].to_numpy(dtype=object))
    for rows in _studies(table, usable):
        order, values = _arrange(*(array[rows] for array in arrays))
        slice_num[rows[order]] = np.arange(len(rows))
        for name, value in values.items():
            geometry[name][rows] = value
    numbered = pd.array(slice_num, dtype="Int64")
    numbered[slice_num < 0] = pd.NA
    table = table.assign(slice_num=numbered, **geometry).drop(columns=_ONLY_FOR_CHOICE)
    rest = [name for name in table.columns if name not in _ORDER]
    return table[[*_ORDER, *rest]].sort_values(
        ["study_id", "slice_num", "path"], ignore_index=True, na_position="last"
    )


def is_truncated(table: pd.DataFrame) -> "pd.Series[bool]":
    """Return which rows have truncated pixel data; they are numbered all the same."""
    return table["problem"].str.startswith(TRUNCATED).fillna(False).astype(bool)


def _usable(table: pd.DataFrame) -> "pd.Series[bool]":
    return table["problem"].isna() | is_truncated(table)


def _fill_patients(table: pd.DataFrame) -> None:
    """Fill missing PatientIDs from the study; a study without any counts as one patient.

    Otherwise all such studies would count as the same patient.
    """
    known = table.groupby("study_id", dropna=True)["patient_id"].transform("first")
    by_study = ("study:" + table["study_id"]).where(table["study_id"].notna())
    table["patient_id"] = table["patient_id"].fillna(known).fillna(by_study)


def _refuse_shared(table: pd.DataFrame, column: str, name: str) -> None:
    usable = table.loc[_usable(table), [column, "patient_id", "path"]]
    patients = usable.drop_duplicates([column, "patient_id"])
    shared = patients[patients[column].duplicated(keep=False)].sort_values([column, "path"])
    if shared.empty:
        return
    first = shared[shared[column] == shared[column].iloc[0]]
    count = shared[column].nunique()
    raise SourceError(
        f"{counted(count, name)} {'belongs' if count == 1 else 'belong'} "
        f"to several patients, for instance {first[column].iloc[0]}: "
        f"{' and '.join(first['path'].head(2))}. Labels and results would be ambiguous. "
        f"Give each patient's files unique UIDs, or keep only one patient's files."
    )


def _mark_copies(table: pd.DataFrame, root: Path, by_uid: bool) -> None:
    """Keep one file per image: preferably intact, then of the first subset, then by path."""
    usable = table[_usable(table)]
    ranked = usable.assign(
        broken=usable["problem"].notna(),
        rank=usable["subset"].map({name: i for i, name in enumerate(SUBSETS)}),
    ).sort_values(["broken", "rank", "path"])
    copies, others = find_copies(ranked, root, ("sop_instance_uid",) if by_uid else IN_SERIES)
    table.loc[copies.index, "problem"] = "duplicate of " + copies.astype(_TEXT)
    if by_uid:
        table.loc[others.index, "problem"] = (
            "another image with the SOPInstanceUID of " + others.astype(_TEXT)
        )


def _refuse_frames(table: pd.DataFrame) -> None:
    usable = table[_usable(table) & table["frame"].notna()]
    several = usable[usable["path"].duplicated(keep=False)]
    table.loc[several.index, "problem"] = (
        "several frames in one file: labels are per file, not per frame"
    )


def _choose(table: pd.DataFrame, needs_geometry: bool, refused: Mapping[int, str]) -> pd.DataFrame:
    """Keep the best stack of each study, and record why all other images are not used."""
    usable = _usable(table)
    strays = stray_images(table[usable])
    table.loc[strays.index, "problem"] = strays.astype(_TEXT)
    slices = table[usable & ~table.index.isin(strays.index)]
    table["stack"] = split_stacks(slices).reindex(table.index, fill_value=0)
    stacks = pick_series(table.loc[slices.index], needs_geometry=needs_geometry, refused=refused)
    if not stacks["picked"].all():
        others = stacks.loc[~stacks["picked"], [*STACK, "reason"]]
        unused = table.loc[slices.index, STACK].reset_index().merge(others, on=STACK)
        table.loc[unused["index"], "problem"] = pd.array(unused["reason"], dtype=_TEXT)
    return stacks


def _studies(table: pd.DataFrame, usable: NDArray[np.bool_]) -> Iterator[NDArray[np.intp]]:
    """Yield the row numbers of each study's usable slices, in table order."""
    rows = np.flatnonzero(usable)
    codes = pd.factorize(table["study_id"])[0][rows]
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order])) + 1
    if len(rows):
        yield from np.split(rows[order], starts)


def _arrange(
    position: NDArray[np.float64],
    orientation: NDArray[np.float64],
    location_instance: NDArray[np.float64],
    uid_path: NDArray[np.object_],
) -> tuple[NDArray[np.intp], dict[str, NDArray[np.float64] | float]]:
    """Return the order of a study's rows and its geometry columns.

    If a position or an orientation is missing, the study is sorted by the first value that all
    slices have: z, SliceLocation, InstanceNumber, otherwise the file name
    (docs/data_quirks.md#unusable-geometry).
    """
    uids, paths = uid_path.T
    if np.isfinite(position).all() and valid_orientation(orientation).all():
        study = study_geometry(position, orientation)
        geometry = {name: getattr(study, name) for name in _GEOMETRY}
        return order_slices(study.position_mm, uids), geometry
    z, (location, instance) = position[:, 2], location_instance.T
    for value, is_mm in ((z, True), (location, True), (instance, False)):
        if np.isfinite(value).all():
            return order_slices(value, uids), {"position_mm": value} if is_mm else {}
    return order_slices(z, paths), {"position_mm": z}
