"""Averaging of thin slices in slabs as thick as the slices of the training data."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

THIN_MM: Final = 1.5
"""Slices are averaged up to this slice distance."""
SLAB_MM: Final = 5.0
"""Thickness of most slices of the challenge's data."""


def slices_per_slab(distance_mm: float, slab_mm: float) -> int:
    """Return the number of neighbouring slices per slab; 1 for no averaging.

    Args:
        distance_mm: Distance of neighbouring slices; NaN if unknown.
        slab_mm: Thickness of a slab; 0 for no averaging.
    """
    if not 0 < distance_mm <= THIN_MM:
        return 1
    return max(round(slab_mm / distance_mm), 1)


def slab_numbers(slices: int, per_slab: int) -> NDArray[np.intp]:
    """Assign a slab to each slice; a last slab of less than half the size joins the one before.

    Args:
        slices: Number of slices of the study.
        per_slab: See ``slices_per_slab``.

    Returns:
        ``(slices,)`` slab numbers, ascending from 0.
    """
    slabs = max((slices + per_slab // 2) // per_slab, 1)
    return np.minimum(np.arange(slices) // per_slab, slabs - 1)


def average_slabs(volume: np.ndarray, slabs: NDArray[np.intp]) -> np.ndarray:
    """Average the slices of each slab.

    Args:
        volume: ``(S, H, W)`` int16 HU.
        slabs: ``(S,)`` slab numbers, see ``slab_numbers``.

    Returns:
        ``(K, H, W)`` int16 HU.
    """
    starts = np.flatnonzero(np.diff(slabs, prepend=-1))
    if len(starts) == len(volume):
        return volume
    parts = np.split(volume, starts[1:])
    means = [np.rint(part.mean(axis=0, dtype=np.float32)).astype(np.int16) for part in parts]
    return np.stack(means)
