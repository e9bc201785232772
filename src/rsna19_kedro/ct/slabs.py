"""Thin slices averaged in slabs as thick as the slices that models were trained on."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

THIN_MM: Final = 1.5
"""Slices this far apart or less are averaged."""
SLAB_MM: Final = 5.0
"""Thickness of most slices of the challenge's data."""


def slices_per_slab(distance_mm: float, slab_mm: float) -> int:
    """Work out how many neighbouring slices make a slab; 1 where they stay as they are.

    Args:
        distance_mm: Of neighbouring slices; NaN where unknown.
        slab_mm: Wanted thickness; 0 to leave slices as they are.
    """
    if not 0 < distance_mm <= THIN_MM:
        return 1
    return max(round(slab_mm / distance_mm), 1)


def slab_numbers(slices: int, per_slab: int) -> NDArray[np.intp]:
    """Number of each slice's slab; the last slab takes up what would be less than half of one.

    Args:
        slices: Slices of the study.
        per_slab: See ``slices_per_slab``.

    Returns:
        ``(slices,)`` ascending from 0.
    """
    slabs = max((slices + per_slab // 2) // per_slab, 1)
    return np.minimum(np.arange(slices) // per_slab, slabs - 1)


def average_slabs(volume: np.ndarray, slabs: NDArray[np.intp]) -> np.ndarray:
    """Average the slices of each slab.

    Args:
        volume: ``(S, H, W)`` int16 HU; padding as it is.
        slabs: ``(S,)`` of ``slab_numbers``.

    Returns:
        ``(K, H, W)`` int16 HU.
    """
    starts = np.flatnonzero(np.diff(slabs, prepend=-1))
    if len(starts) == len(volume):
        return volume
    parts = np.split(volume, starts[1:])
    means = [np.rint(part.mean(axis=0, dtype=np.float32)).astype(np.int16) for part in parts]
    return np.stack(means)
