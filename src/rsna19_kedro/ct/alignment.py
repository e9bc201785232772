"""Slices put where they lie in the patient, by a shift in their plane.

A tilted gantry cuts parallel slices whose first pixels do not lie on one normal. Each slice's
ImagePositionPatient (0020,0032), projected on its rows and columns, says by how much: a
constant shift a slice, right for any tilt and for uneven slice distances. Shifts are in
pixels against the middle slice; the whole part is done by placement, the rest by cubic
interpolation along one axis at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

FLOOR_HU: Final = -1024
"""Padding outside the scanner's circle (-2000, -3024) counts as this: a step of 2,000 HU that
nothing in the patient makes would ring into the neighbouring pixels."""

NEGLIGIBLE_PX: Final = 1e-3
_EDGE = 2
"""Pixels that the four taps reach beyond either side of a window."""


@dataclass(frozen=True)
class Placement:
    """Where a slice lies in the aligned grid.

    Attributes:
        row: Row of the grid that the slice's first row is placed at.
        col: The same for columns.
        row_fraction: What is left of the shift, in -0.5..0.5 rows.
        col_fraction: The same in columns.
    """

    row: int
    col: int
    row_fraction: float = 0.0
    col_fraction: float = 0.0


@dataclass(frozen=True)
class AlignedGrid:
    """The smallest grid that holds every slice whole.

    Attributes:
        rows: Height of the grid in pixels.
        cols: Width of the grid in pixels.
        placements: One a slice; row 0 and column 0 are the grid's first.
    """

    rows: int
    cols: int
    placements: tuple[Placement, ...]


def slice_shifts(
    row_offset_mm: ArrayLike,
    col_offset_mm: ArrayLike,
    row_spacing_mm: float,
    col_spacing_mm: float,
) -> NDArray[np.float64]:
    """Shift of each slice against the middle one.

    Args:
        row_offset_mm: (S,) position of each slice's first pixel along the row direction, so
            across the columns, as in ``StudyGeometry``.
        col_offset_mm: (S,) the same along the column direction, so across the rows.
        row_spacing_mm: Distance of rows, ``PixelSpacing[0]`` (0028,0030).
        col_spacing_mm: Distance of columns, ``PixelSpacing[1]``.

    Returns:
        (S, 2) shifts in (rows, columns): pixel (r, c) of slice i lies at
        (r, c) + shift of the middle slice's grid. The middle slice is number S // 2.
    """
    offset_px = np.stack(
        [
            np.asarray(col_offset_mm, dtype=float) / row_spacing_mm,
            np.asarray(row_offset_mm, dtype=float) / col_spacing_mm,
        ],
        axis=1,
    )
    return np.asarray(offset_px - offset_px[len(offset_px) // 2])


def aligned_grid(shifts: ArrayLike, sizes: Sequence[tuple[int, int]]) -> AlignedGrid:
    """Grow the grid of the middle slice so that nothing of any slice is cut off.

    Args:
        shifts: (S, 2) of ``slice_shifts``.
        sizes: Rows and columns of each slice.

    Returns:
        The grid and each slice's place in it. A slice covers as many pixels as it has: those
        whose centre lies within it.
    """
    shift = np.asarray(shifts, dtype=float).reshape(-1, 2)
    whole = np.floor(shift + 0.5).astype(int)
    rest = shift - whole
    rest[np.abs(rest) < NEGLIGIBLE_PX] = 0.0
    first = whole.min(axis=0)
    last = (whole + np.asarray(sizes)).max(axis=0)
    placements = tuple(
        Placement(int(place[0]), int(place[1]), float(part[0]), float(part[1]))
        for place, part in zip(whole - first, rest, strict=True)
    )
    return AlignedGrid(int(last[0] - first[0]), int(last[1] - first[1]), placements)


def cubic_weights(fraction: float) -> NDArray[np.float32]:
    """Weights of the four pixels around a point (Keys 1981, a = -1/2: Catmull-Rom).

    Args:
        fraction: Place of the point between the second and the third pixel, 0..1.

    Returns:
        (4,) weights that add up to 1 and reproduce polynomials up to the second degree.
    """
    t = fraction
    weights = (
        ((-0.5 * t + 1.0) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1.0,
        ((-1.5 * t + 2.0) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )
    return np.asarray(weights, dtype=np.float32)


def place_slice(
    hu: np.ndarray, placement: Placement, window: np.ndarray, corner: tuple[int, int]
) -> None:
    """Fill a window of the aligned grid with what a slice holds there.

    Only the window's pixels are computed. What lies within the slice is at least -1024 HU;
    what does not keeps its value, so start from a window of ``PADDING_HU``.

    Args:
        hu: (H, W) int16 HU.
        placement: Where the slice lies in the grid.
        window: (h, w) int16, filled in place.
        corner: Row and column of the grid that are the window's first; may be negative.
    """
    overlap = _overlap(hu.shape, placement, window.shape, corner)
    if overlap is None:
        return
    (rows, cols), target = overlap
    if placement.row_fraction == 0 and placement.col_fraction == 0:
        np.maximum(hu[rows, cols], FLOOR_HU, out=window[target])
        return
    block = _gather(hu, rows, cols, placement)
    if placement.row_fraction:
        block = _interpolate(block, placement.row_fraction)
    if placement.col_fraction:
        block = _interpolate(block.T, placement.col_fraction).T
    np.rint(block, out=block)
    np.clip(block, FLOOR_HU, np.iinfo(np.int16).max, out=block)
    window[target] = block


def place_labels(
    labels: np.ndarray, placement: Placement, window: np.ndarray, corner: tuple[int, int]
) -> None:
    """Fill a window with a slice of labels: as ``place_slice``, by the nearest neighbour."""
    overlap = _overlap(labels.shape, placement, window.shape, corner)
    if overlap is not None:
        source, target = overlap
        window[target] = labels[source]


def _overlap(
    size: tuple[int, ...],
    placement: Placement,
    window: tuple[int, ...],
    corner: tuple[int, int],
) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """Part of the slice that lies in the window, and where in the window."""
    source, target = [], []
    for axis, place in enumerate((placement.row, placement.col)):
        offset = place - corner[axis]
        start, stop = max(offset, 0), min(offset + size[axis], window[axis])
        if start >= stop:
            return None
        target.append(slice(start, stop))
        source.append(slice(start - offset, stop - offset))
    return (source[0], source[1]), (target[0], target[1])


def _gather(hu: np.ndarray, rows: slice, cols: slice, placement: Placement) -> np.ndarray:
    """The needed pixels and, along the axes to interpolate, two more on either side."""
    needed = []
    for part, fraction, size in (
        (rows, placement.row_fraction, hu.shape[0]),
        (cols, placement.col_fraction, hu.shape[1]),
    ):
        edge = _EDGE if fraction else 0
        needed.append((part.start - edge, part.stop + edge, size))
    (top, bottom, height), (left, right, width) = needed
    inside = hu[max(top, 0) : bottom, max(left, 0) : right]
    block = np.maximum(inside, FLOOR_HU, dtype=np.int16).astype(np.float32)
    beyond = (
        (max(-top, 0), max(bottom - height, 0)),
        (max(-left, 0), max(right - width, 0)),
    )
    # Beyond the slice its outermost pixels go on: air goes on as air.
    return np.pad(block, beyond, mode="edge") if any(map(any, beyond)) else block


def _interpolate(block: np.ndarray, fraction: float) -> np.ndarray:
    """Values at ``index - fraction`` along the first axis, two pixels less at either end."""
    between = -fraction if fraction < 0 else 1.0 - fraction
    first = 1 if fraction < 0 else 0
    weights = cubic_weights(between)
    length = len(block) - 2 * _EDGE
    result = block[first : first + length] * weights[0]
    term = np.empty_like(result)
    for tap in (1, 2, 3):
        np.multiply(block[first + tap : first + tap + length], weights[tap], out=term)
        result += term
    return result
