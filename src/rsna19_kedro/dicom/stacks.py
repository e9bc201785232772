"""Splitting of a series into stacks of slices, without its stray images.

A series is not always one stack: in hospital archives, one SeriesInstanceUID may contain two
reconstructions, two acquisitions or copies, and scouts, dose pages and screen captures.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsna19_kedro.contracts import ORIENTATION, POSITION
from rsna19_kedro.ct.geometry import is_axial, slice_normal, valid_orientation

SERIES: Final = ["study_id", "series_instance_uid"]

_MOST: Final = 0.5
"""A series is typical in a property if more than this share of its images have it."""
_SAME_MM: Final = 0.01
_SAME_SPACING_MM: Final = 0.01
_PARALLEL: Final = 0.02
_OVERLAP: Final = 0.5
"""Two groups are two stacks if they overlap by more than this share of the shorter one."""
_COPIED: Final = 0.8
"""A stack is duplicated if at least this share of its images share their position."""
_MOST_RUNS: Final = 6
_LEAST_OF_RUN: Final = 4


def stray_images(slices: pd.DataFrame) -> "pd.Series[str]":
    """Find images that are unlike most images of their series.

    Args:
        slices: Usable rows of ``headers_table``.

    Returns:
        Reason why each stray image is set aside, by row.
    """
    position = np.isfinite(slices[POSITION].to_numpy(dtype=float)).all(axis=1)
    orientation = slices[ORIENTATION].to_numpy(dtype=float)
    placed = pd.Series(position & valid_orientation(orientation), index=slices.index)
    axial = pd.Series(is_axial(orientation), index=slices.index)
    spaced = (slices[["row_spacing_mm", "col_spacing_mm"]] > 0).all(axis=1)
    reasons = pd.Series(index=slices.index, dtype=object)
    for usual, text in (
        (axial | ~placed, "not axial, unlike most images"),
        (spaced, "no pixel spacing, unlike most images"),
        (placed, "no position or orientation, unlike most images"),
    ):
        if not usual.all():
            share = usual.groupby([slices[name] for name in SERIES], dropna=False).transform("mean")
            reasons[~usual & (share > _MOST)] = f"set aside from its series: {text}"
    return reasons.dropna()


def split_stacks(slices: pd.DataFrame) -> "pd.Series[int]":
    """Number the stacks of each series from 1.

    Slices are grouped by kernel, orientation, pixel grid, SeriesNumber, AcquisitionNumber,
    ImageType and the order of InstanceNumber. Groups that cover the same part of the patient are
    different stacks. Step-and-shoot scans, whose acquisitions follow each other along the
    patient, stay one stack.

    Args:
        slices: Usable rows of ``headers_table`` without stray images.

    Returns:
        Number of each row's stack within its series.
    """
    stack = pd.Series(1, index=slices.index)
    if slices.empty:
        return stack
    series = pd.Series(
        slices.groupby(SERIES, dropna=False, sort=False).ngroup().to_numpy(), index=slices.index
    )
    table = pd.DataFrame(
        {
            "series": series,
            "z": _heights(slices),
            "instance": slices["instance_number"].to_numpy(dtype=float),
            "path": slices["path"].astype(object),
            **{name: key(slices, series) for name, key in _KEYS.items()},
        },
        index=slices.index,
    )
    for _, rows in table[series.isin(_suspects(table))].groupby("series"):
        stack[rows.index] = _stacks_of(rows)
    return stack


def _heights(slices: pd.DataFrame) -> NDArray[np.float64]:
    """Return the position of each slice along its normal, in mm; z without an orientation."""
    position = slices[POSITION].to_numpy(dtype=float)
    orientation = slices[ORIENTATION].to_numpy(dtype=float)
    valid = valid_orientation(orientation)
    heights = position[:, 2].copy()
    heights[valid] = (position[valid] * slice_normal(orientation[valid])).sum(axis=1)
    return heights


def _codes(values: pd.DataFrame) -> NDArray[np.intp]:
    """Number rows by their values, in ascending order."""
    return values.groupby(list(values), dropna=False, sort=True).ngroup().to_numpy()


def _unusual(
    slices: pd.DataFrame, series: "pd.Series[int]", names: list[str], limit: float
) -> "pd.Series[bool]":
    """Return whether values differ from the median of their series by more than a limit."""
    values = slices[names].astype("float64")
    return ((values - values.groupby(series).transform("median")).abs() > limit).any(axis=1)


def _grid(slices: pd.DataFrame, series: "pd.Series[int]") -> NDArray[np.intp]:
    unusual = _unusual(slices, series, ["row_spacing_mm", "col_spacing_mm"], _SAME_SPACING_MM)
    return _codes(slices[["rows", "columns"]].astype("float64").assign(unusual=unusual))


_KEYS: Final[dict[str, Callable[[pd.DataFrame, "pd.Series[int]"], NDArray[np.intp]]]] = {
    "kernel": lambda slices, _: _codes(slices[["kernel"]]),
    "orientation": lambda slices, series: _codes(
        _unusual(slices, series, ORIENTATION, _PARALLEL).to_frame()
    ),
    "grid": _grid,
    "series_number": lambda slices, _: _codes(slices[["series_number"]]),
    "acquisition": lambda slices, _: _codes(slices[["acquisition_number"]]),
    "image_type": lambda slices, _: _codes(slices[["image_type"]]),
}


def _suspects(table: pd.DataFrame) -> NDArray[np.intp]:
    """Return the series that may contain several stacks; fast for a million slices."""
    suspects: set[int] = set()
    for name in _KEYS:
        if table[name].max() > 0:
            kinds = table.drop_duplicates(["series", name])["series"]
            suspects.update(kinds[kinds.duplicated()])
    heights = table.assign(z=table["z"].round(2))[["series", "z"]].dropna()
    suspects.update(heights.loc[heights.duplicated(), "series"])
    ordered = table[table["instance"].notna() & table["z"].notna()]
    if len(ordered):
        ordered = ordered.sort_values(["series", "instance"], kind="stable")
        step = ordered.groupby("series")["z"].diff()
        both = step.groupby(ordered["series"]).agg(["min", "max"])
        suspects.update(both.index[(both["min"] < 0) & (both["max"] > 0)])
    return np.array(sorted(suspects), dtype=np.intp)


def _stacks_of(rows: pd.DataFrame) -> NDArray[np.intp]:
    stack = np.zeros(len(rows), dtype=np.intp)
    if rows["z"].isna().any():
        return stack + 1
    z = rows["z"].to_numpy()
    splits = [*(rows[name].to_numpy() for name in _KEYS), None]
    for key in splits:
        parts = np.zeros_like(stack)
        for number in np.unique(stack):
            inside = np.flatnonzero(stack == number)
            of_rows = rows.iloc[inside]
            groups = key[inside] if key is not None else _runs(of_rows)
            parts[inside] = _separate(z[inside], groups)
        stack = np.unique(np.stack([stack, parts]), axis=1, return_inverse=True)[1].ravel()
    parts = np.zeros_like(stack)
    for number in np.unique(stack):
        inside = np.flatnonzero(stack == number)
        parts[inside] = _copy_numbers(rows.iloc[inside])
    stack = np.unique(np.stack([stack, parts]), axis=1, return_inverse=True)[1].ravel()
    return stack + 1


def _separate(z: NDArray[np.float64], groups: NDArray[np.intp]) -> NDArray[np.intp]:
    """Join groups of slices that follow each other along z, and separate those that overlap."""
    stacks: list[list[NDArray[np.float64]]] = []
    result = np.zeros(len(z), dtype=np.intp)
    for group in np.unique(groups):
        inside = groups == group
        fitting = [
            number
            for number, members in enumerate(stacks)
            if not any(_overlap(z[inside], member) for member in members)
        ]
        # Use the latest stack that fits, because acquisitions are numbered in time.
        number = fitting[-1] if fitting else len(stacks)
        if number == len(stacks):
            stacks.append([])
        stacks[number].append(z[inside])
        result[inside] = number
    return result


def _overlap(first: NDArray[np.float64], second: NDArray[np.float64]) -> bool:
    shorter, longer = sorted((first, second), key=np.ptp)
    low, high = max(first.min(), second.min()), min(first.max(), second.max())
    if np.ptp(shorter) < _SAME_MM:
        return bool(longer.min() - _SAME_MM < shorter[0] < longer.max() + _SAME_MM)
    return bool((high - low) / np.ptp(shorter) > _OVERLAP)


def _runs(rows: pd.DataFrame) -> NDArray[np.intp]:
    """Group slices whose positions rise or fall monotonically with InstanceNumber."""
    groups = np.zeros(len(rows), dtype=np.intp)
    instance = rows["instance"].to_numpy()
    if not np.isfinite(instance).all() or len(np.unique(instance)) < len(instance):
        return groups
    order = np.argsort(instance)
    run, direction = [0], 0.0
    for step in np.sign(np.diff(rows["z"].to_numpy()[order])):
        continues = step != 0 and direction in (0.0, step)
        run.append(run[-1] + (not continues))
        direction = step if continues else 0.0
    sizes = np.bincount(run)
    if len(sizes) > _MOST_RUNS or sizes.min() < _LEAST_OF_RUN:
        return groups
    groups[order] = run
    return groups


def _copy_numbers(rows: pd.DataFrame) -> NDArray[np.intp]:
    """Separate copies of a whole stack: the n-th image at each position belongs to stack n."""
    z = rows["z"].round(2)
    images = z.groupby(z).transform("size")
    if (images > 1).mean() < _COPIED:
        return np.zeros(len(rows), dtype=np.intp)  # A few repeated images are not a stack.
    ordered = rows.assign(z=z).sort_values(["instance", "path"], kind="stable")
    return ordered.groupby("z").cumcount().reindex(rows.index).to_numpy()
