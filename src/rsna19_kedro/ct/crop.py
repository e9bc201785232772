"""Square crop around the head, the same for every slice of a study."""

from collections.abc import Sequence

import numpy as np

from rsna19_kedro.contracts import PADDING_HU
from rsna19_kedro.ct.alignment import AlignedGrid, Placement, place_slice


def centre_of_mass(
    slices: Sequence[np.ndarray | None] | np.ndarray, grid: AlignedGrid
) -> tuple[int, int]:
    """Return the centre of all pixels above 0 HU (docs/reference.md#conversion-to-volumes).

    It is computed from the original slices and their shifts, without computing any pixel of the
    aligned volume.

    Args:
        slices: (H, W) HU of each slice; ``None`` for an unreadable slice.
        grid: Aligned grid of the slices.

    Returns:
        Row and column of the grid; the middle of the grid if nothing is above 0 HU.
    """
    total = 0
    row_sum = col_sum = 0.0
    for hu, at in zip(slices, grid.placements, strict=True):
        if hu is None:
            continue
        above = (hu > 0).view(np.uint8)
        by_row = above.sum(axis=1, dtype=np.uint32)
        by_col = above.sum(axis=0, dtype=np.uint32)
        count = int(by_row.sum())
        total += count
        row_sum += float(by_row @ np.arange(len(by_row))) + count * (at.row + at.row_fraction)
        col_sum += float(by_col @ np.arange(len(by_col))) + count * (at.col + at.col_fraction)
    if total == 0:
        return grid.rows // 2, grid.cols // 2
    return int(np.floor(row_sum / total + 0.5)), int(np.floor(col_sum / total + 0.5))


def crop_corner(centre: tuple[int, int], size_px: int) -> tuple[int, int]:
    """Return the first row and column of a square crop around a centre; may be negative."""
    return centre[0] - size_px // 2, centre[1] - size_px // 2


def assemble(
    slices: Sequence[np.ndarray | None] | np.ndarray,
    grid: AlignedGrid,
    centre: tuple[int, int],
    size_px: int,
) -> np.ndarray:
    """Assemble slices into one aligned and cropped volume.

    Args:
        slices: (H, W) int16 HU of each slice; ``None`` is replaced by the nearest slice, of two
            equally near ones by that closer to the feet.
        grid: Aligned grid of the slices.
        centre: Row and column of the grid at the centre of the crop.
        size_px: Side of the crop.

    Returns:
        (S, size_px, size_px) int16 HU.
    """
    volume = np.full((len(slices), size_px, size_px), PADDING_HU, dtype=np.int16)
    corner = crop_corner(centre, size_px)
    readable = np.array([number for number, hu in enumerate(slices) if hu is not None])
    for number, hu in enumerate(slices):
        if hu is not None:
            place_slice(hu, grid.placements[number], volume[number], corner)
    for number, hu in enumerate(slices):
        if hu is None:
            volume[number] = volume[readable[np.abs(readable - number).argmin()]]
    return volume


def crop_head(hu: np.ndarray, size_px: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Crop already aligned slices, ``(S, H, W)`` int16 HU, around the centre of mass.

    Returns:
        The volume, and row and column of its centre in the slices.
    """
    grid = AlignedGrid(hu.shape[1], hu.shape[2], (Placement(0, 0),) * len(hu))
    centre = centre_of_mass(hu, grid)
    return assemble(hu, grid, centre, size_px), centre
