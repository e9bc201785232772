"""Heatmaps: coarse class activation maps, enlarged smoothly to the prepared slice."""

from pathlib import Path

import numpy as np
from scipy.ndimage import zoom

HEAT_PX = 100
"""Side of the heatmaps of a result, which cover the prepared slice."""


def read_heat(folder: Path, name: str) -> np.ndarray | None:
    """Read the heatmaps of a study by the name of its volume; ``None`` if it has none."""
    path = folder / f"{name}.npy"
    return np.load(path) if path.is_file() else None


def heat_of(evidence: np.ndarray, share: float) -> np.ndarray:
    """Scale positive evidence to the study's maximum per class, on the grid of the whole slice.

    Args:
        evidence: ``(S, 6, h, w)`` over the network's crop.
        share: Side of the crop divided by that of the prepared slice.

    Returns:
        ``(S, 6, 100, 100)`` float32 in 0..1.
    """
    side = round(HEAT_PX * share)
    inner = smooth_resize(evidence.clip(min=0), side)
    inner /= inner.max(axis=(0, 2, 3), keepdims=True).clip(min=1e-6)
    before = (HEAT_PX - side) // 2
    margins = (before, HEAT_PX - side - before)
    return np.pad(inner, ((0, 0), (0, 0), margins, margins))


def smooth_resize(maps: np.ndarray, side: int) -> np.ndarray:
    """Enlarge maps as cubic B-splines with the cells as coefficients.

    Unlike linear or cubic interpolation, this averages each cell with its neighbours. The
    maximum is then where a bright region is widest, not at a cell that is only slightly
    brighter: on synthetic heads, the maximum of the decoder's masks is far more often inside the
    haemorrhage (``benchmarks/evidence.py``). Maps are padded with 0; the result stays within
    their range and 0.

    Args:
        maps: ``(..., h, w)``.
        side: Side of the result, in pixels.

    Returns:
        ``(..., side, side)`` float32.
    """
    of_rows, of_cols = (_weights(cells, side) for cells in maps.shape[-2:])
    return np.einsum("yi,...ij,xj->...yx", of_rows, maps, of_cols, optimize=True)


def _weights(cells: int, side: int) -> np.ndarray:
    """Return the weight of each cell in each output pixel, ``(side, cells)``."""
    spline = [
        zoom(unit, side / cells, order=3, prefilter=False, mode="grid-constant", grid_mode=True)
        for unit in np.eye(cells, dtype=np.float32)
    ]
    return np.stack(spline, axis=1)
