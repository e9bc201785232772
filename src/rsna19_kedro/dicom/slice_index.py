"""The table of all slices: which ones are usable, to which study and place they belong."""

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
"""Columns that the slice index does not keep; free text may name the patient."""
_GEOMETRY = ("position_mm", "row_offset_mm", "col_offset_mm", "tilt_deg")
_ORDER: Final = (
    *("sop_instance_uid", "study_id", "patient_id", "series_instance_uid", "slice_num"),
    *("subset", "path", "problem", *_GEOMETRY, "row_spacing_mm", "col_spacing_mm"),
)


def headers_table(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Turn header rows into a table with fixed, compact column types.

    Args:
        rows: As ``rsna19_kedro.dicom.headers.read_headers`` gives them, with ``subset``.

    Returns:
        Text as strings, whole numbers as nullable Int32, other numbers as float64.
    """
    columns = {}
    for name in ("subset", "path", *COLUMNS):
        values = [row.get(name) for row in rows]
        empty = values.count(None) == len(rows)  # So are most columns of the challenge's files.
        columns[name] = pd.Series(
            None if empty else values, index=range(len(rows)), dtype=_TYPES.get(name, "float64")
        )
    return pd.DataFrame(columns)


def number_slices(headers: pd.DataFrame, root: Path, *, training: bool = True) -> pd.DataFrame:
    """Sort out what cannot be used and number the slices of each study from feet to head.

    See ``choose_slices`` and ``number_chosen``, which this does one after the other.
    """
    return number_chosen(choose_slices(headers, root, training=training)[0])


def choose_slices(
    headers: pd.DataFrame,
    root: Path,
    *,
    training: bool,
    refused: Mapping[int, str] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Choose one stack of slices per study; say of all other files why they are not used.

    What has a problem keeps its row, with the reason in ``problem``. Of copies (see
    ``copies.find_copies``) one file is used, stray images of a series are set aside (see
    ``stacks.stray_images``), and of a study with several stacks of slices the best is used (see
    ``series.pick_series``). Images are turned as in a supine head-first scan.

    Args:
        headers: Table of ``headers_table``, in any order.
        root: Folder that ``path`` is relative to.
        training: Whether labels, which are by SOPInstanceUID, belong to the slices: then each
            SOPInstanceUID names one image, and studies without usable geometry are kept.
        refused: By row of the stacks of an earlier call, why its pixels cannot be used.

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
        table: See ``choose_slices``. Slices with truncated pixels keep their place, so that
            slice numbers and labels stay aligned.

    Returns:
        One row per file or frame, ordered by study and place, with ``slice_num`` (Int64, 0-based,
        null for what is not used), ``position_mm`` along the normal, ``row_offset_mm`` and
        ``col_offset_mm`` (see ``StudyGeometry``; null where position or orientation is
        missing in the study) and ``tilt_deg`` (null where not axial).
    """
    usable = _usable(table).to_numpy()
    slice_num = np.full(len(table), -1, dtype=np.int64)
    geometry = {name: np.full(len(table), np.nan) for name in _GEOMETRY}
    # As arrays: taking a study's rows out of them costs microseconds.
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
    """Rows whose pixel data are cut off and that keep their place all the same."""
    return table["problem"].str.startswith(TRUNCATED).fillna(False).astype(bool)


def _usable(table: pd.DataFrame) -> "pd.Series[bool]":
    return table["problem"].isna() | is_truncated(table)


def _fill_patients(table: pd.DataFrame) -> None:
    """Give slices without PatientID that of their study; a study without any is a patient.

    Otherwise all such studies would become one patient.
    """
    known = table.groupby("study_id", dropna=True)["patient_id"].transform("first")
    own = ("study:" + table["study_id"]).where(table["study_id"].notna())
    table["patient_id"] = table["patient_id"].fillna(known).fillna(own)


def _refuse_shared(table: pd.DataFrame, column: str, name: str) -> None:
    usable = table.loc[_usable(table), [column, "patient_id", "path"]]
    patients = usable.drop_duplicates([column, "patient_id"])
    shared = patients[patients[column].duplicated(keep=False)].sort_values([column, "path"])
    if shared.empty:
        return
    first = shared[shared[column] == shared[column].iloc[0]]
    raise SourceError(
        f"{counted(shared[column].nunique(), name)} {'belong' if len(shared) > 2 else 'belongs'} "
        f"to several patients, for instance {first[column].iloc[0]}: "
        f"{' and '.join(first['path'].head(2))}. Labels and results could not be told apart. "
        f"Give each patient's files UIDs of their own, or keep one patient's files."
    )


def _mark_copies(table: pd.DataFrame, root: Path, by_uid: bool) -> None:
    """Keep one file of each image: a whole one, of the first subset, first by path."""
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
        "several frames in one file: labels name files, not frames"
    )


def _choose(table: pd.DataFrame, needs_geometry: bool, refused: Mapping[int, str]) -> pd.DataFrame:
    """Keep the best stack of each study; say of all other images why they are not used."""
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
    """Row numbers of each study's usable slices, in the order of the table."""
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
    """Order of a study's rows and its geometry columns.

    A study in which a position or an orientation is missing is ordered by what all of its slices
    have: z, SliceLocation, InstanceNumber, else the file name
    (docs/data_quirks.md#unusable-geometry).
    """
    uids, paths = uid_path.T
    if np.isfinite(position).all() and valid_orientation(orientation).all():
        found = study_geometry(position, orientation)
        geometry = {name: getattr(found, name) for name in _GEOMETRY}
        return order_slices(found.position_mm, uids), geometry
    z, (location, instance) = position[:, 2], location_instance.T
    for value, is_mm in ((z, True), (location, True), (instance, False)):
        if np.isfinite(value).all():
            return order_slices(value, uids), {"position_mm": value} if is_mm else {}
    return order_slices(z, paths), {"position_mm": z}
