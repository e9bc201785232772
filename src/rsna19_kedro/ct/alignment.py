"""Alignment of slices to their position in the patient, by a shift in their plane.

With a tilted gantry, slices are parallel but their first pixels do not lie on one normal. The
projection of ImagePositionPatient (0020,0032) on the rows and columns gives one constant shift
per slice, exact for any tilt and for uneven slice distances. Shifts are in pixels relative to
the middle slice; the integer part is applied by placement, the rest by cubic interpolation
along one axis at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

FLOOR_HU: Final = -1024
"""Padding outside the scanner's field of view (-2000, -3024) is raised to this value: an
artificial step of 2,000 HU would cause ringing in the neighbouring pixels."""

NEGLIGIBLE_PX: Final = 1e-3
_EDGE = 2
"""Pixels that the four taps need on either side of a window."""


@dataclass(frozen=True)
class Placement:
    """Position of a slice in the aligned grid.

    Attributes:
        row: Row of the grid of the slice's first row.
        col: The same for columns.
        row_fraction: Fractional part of the shift, in -0.5..0.5 rows.
        col_fraction: The same in columns.
    """

    row: int
    col: int
    row_fraction: float = 0.0
    col_fraction: float = 0.0


@dataclass(frozen=True)
class AlignedGrid:
    """The smallest grid that contains all slices completely.

    Attributes:
        rows: Height of the grid in pixels.
        cols: Width of the grid in pixels.
        placements: One per slice; row 0 and column 0 are the grid's first.
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
    """Compute the shift of each slice relative to the middle one.

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
    """Extend the grid of the middle slice to contain all slices.

    Args:
        shifts: (S, 2) shifts, see ``slice_shifts``.
        sizes: Rows and columns of each slice.

    Returns:
        The grid with the placement of each slice. A slice covers as many grid pixels as it has:
        those whose centre lies within it.
    """
    shift = np.asarray(shifts, dtype=float).reshape(-1, 2)
    whole = np.floor(shift + 0.5).astype(int)
    rest = shift - whole
    rest[np.abs(rest) < NEGLIGIBLE_PX] = 0.0
    first = whole.min(axis=0)
    last = (whole + np.asarray(sizes)).max(axis=0)
    placements = tuple(
        Placement(int(offset[0]), int(offset[1]), float(part[0]), float(part[1]))
        for offset, part in zip(whole - first, rest, strict=True)
    )
    return AlignedGrid(int(last[0] - first[0]), int(last[1] - first[1]), placements)


def cubic_weights(fraction: float) -> NDArray[np.float32]:
    """Return the weights of the four pixels around a point (Keys 1981, a = -1/2: Catmull-Rom).

    Args:
        fraction: Position of the point between the second and the third pixel, 0..1.

    Returns:
        (4,) weights that sum to 1 and reproduce polynomials up to the second degree.
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
    """Fill a window of the aligned grid with the pixels of a slice.

    Only the window's pixels are computed. Pixels within the slice become at least -1024 HU; the
    others keep their value, so initialise the window with ``PADDING_HU``.

    Args:
        hu: (H, W) int16 HU.
        placement: Position of the slice in the grid.
        window: (h, w) int16, filled in place.
        corner: Row and column of the grid of the window's first pixel; may be negative.
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
    """Fill a window with a slice of labels like ``place_slice``, by the nearest neighbour."""
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
    """Return the part of the slice that lies in the window, and its position in the window."""
    source, target = [], []
    for axis, first in enumerate((placement.row, placement.col)):
        offset = first - corner[axis]
        start, stop = max(offset, 0), min(offset + size[axis], window[axis])
        if start >= stop:
            return None
        target.append(slice(start, stop))
        source.append(slice(start - offset, stop - offset))
    return (source[0], source[1]), (target[0], target[1])


def _gather(hu: np.ndarray, rows: slice, cols: slice, placement: Placement) -> np.ndarray:
    """Return the needed pixels, with a margin of two pixels along interpolated axes."""
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
    outside = (
        (max(-top, 0), max(bottom - height, 0)),
        (max(-left, 0), max(right - width, 0)),
    )
    # Outside the slice its edge pixels are repeated, so that air stays air.
    return np.pad(block, outside, mode="edge") if any(map(any, outside)) else block


def _interpolate(block: np.ndarray, fraction: float) -> np.ndarray:
    """Interpolate at ``index - fraction`` along the first axis; removes the margin."""
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
