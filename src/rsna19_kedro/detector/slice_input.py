"""Input of the detector's slice classifier: native slices in three windows on 512 x 512 pixels."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

SIDE_PX: Final = 512
WINDOWS_HU: Final = ((40.0, 80.0), (80.0, 200.0), (600.0, 2800.0))
"""Centre and width of the windows: brain, subdural, bone."""

_LARGEST_CROPPED_PX: Final = 640


class Fit(NamedTuple):
    """Mapping of a native slice to the input: ``input = scale * (native + 0.5) - 0.5 + offset``.

    Attributes:
        scale: Input pixels per native pixel, for rows and columns.
        offset: In input pixels, for rows and columns.
    """

    scale: tuple[float, float]
    offset: tuple[int, int]


def fit_of(rows: int, cols: int) -> Fit:
    """Return how a slice of this size is fitted into the input."""
    if max(rows, cols) > _LARGEST_CROPPED_PX:
        return Fit((SIDE_PX / rows, SIDE_PX / cols), (0, 0))
    return Fit((1.0, 1.0), (_offset(rows), _offset(cols)))


def _offset(size: int) -> int:
    return (SIDE_PX - size) // 2 if size < SIDE_PX else -((size - SIDE_PX) // 2)


def slice_input(hu: np.ndarray) -> np.ndarray:
    """Window a slice and fit it to 512 x 512 pixels.

    A slice with a side above 640 pixels is resampled by area; otherwise it is cropped at its
    centre, or padded with 0 after windowing.

    Args:
        hu: ``(H, W)`` HU.

    Returns:
        ``(3, 512, 512)`` float32 in [0, 1], one plane per window.
    """
    fit = fit_of(*hu.shape)
    if fit.scale != (1.0, 1.0):
        rows, cols = (_area_weights(size) for size in hu.shape)
        hu = (rows @ hu.astype(np.float64) @ cols.T).astype(np.float32)
    top, left = (max(-offset, 0) for offset in fit.offset)
    hu = hu[top : top + SIDE_PX, left : left + SIDE_PX].astype(np.float32)
    planes = np.zeros((len(WINDOWS_HU), SIDE_PX, SIDE_PX), dtype=np.float32)
    row, col = (max(offset, 0) for offset in fit.offset)
    for plane, (centre, width) in zip(planes, WINDOWS_HU, strict=True):
        low = np.float32(centre - width / 2)
        windowed = (np.clip(hu, low, low + np.float32(width)) - low) / np.float32(width + 1e-6)
        plane[row : row + hu.shape[0], col : col + hu.shape[1]] = windowed
    return planes


def _area_weights(size: int) -> NDArray[np.float64]:
    """Return the share of each source pixel in each of 512 target pixels, ``(512, size)``."""
    edges = np.arange(SIDE_PX + 1) * (size / SIDE_PX)
    pixels = np.arange(size)
    first = np.maximum(edges[:-1, None], pixels)
    last = np.minimum(edges[1:, None], pixels + 1)
    return np.clip(last - first, 0.0, None) * (SIDE_PX / size)
