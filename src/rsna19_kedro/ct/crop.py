"""The square window round the head that is kept of every slice of a study."""

from collections.abc import Sequence

import numpy as np

from rsna19_kedro.ct.alignment import AlignedGrid


def centre_of_mass(slices: Sequence[np.ndarray | None], grid: AlignedGrid) -> tuple[int, int]:
    """Centre of all that is above 0 HU in a study (reference, section 2).

    It is worked out from the slices as they are, each moved by its shift, so that no pixel
    of the aligned volume has to be computed for it.

    Args:
        slices: (H, W) HU of each slice; ``None`` for one that could not be read.
        grid: Where the slices lie.

    Returns:
        Row and column of the grid; the middle of the grid where nothing is above 0 HU.
    """
    total = 0
    row_sum = col_sum = 0.0
    for hu, place in zip(slices, grid.placements, strict=True):
        if hu is None:
            continue
        above = (hu > 0).view(np.uint8)
        by_row = above.sum(axis=1, dtype=np.uint32)
        by_col = above.sum(axis=0, dtype=np.uint32)
        count = int(by_row.sum())
        total += count
        row_sum += float(by_row @ np.arange(len(by_row))) + count * (place.row + place.row_fraction)
        col_sum += float(by_col @ np.arange(len(by_col))) + count * (place.col + place.col_fraction)
    if total == 0:
        return grid.rows // 2, grid.cols // 2
    return int(np.floor(row_sum / total + 0.5)), int(np.floor(col_sum / total + 0.5))


def crop_corner(centre: tuple[int, int], size_px: int) -> tuple[int, int]:
    """First row and column of a square window round a centre; may be negative."""
    return centre[0] - size_px // 2, centre[1] - size_px // 2
