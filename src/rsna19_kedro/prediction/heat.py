"""Heatmaps: coarse class activation maps, enlarged smoothly to the prepared slice."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, zoom

from rsna19_kedro.detector.slice_input import SIDE_PX, Fit

HEAT_PX = 100
"""Side of the heatmaps of a result, which cover the prepared slice."""

_FINE = 128
"""Side to which the detector's maps are enlarged before they are resampled."""


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


def heat_of_native(
    maps: np.ndarray, fit: Fit, first_px: NDArray[np.float64], side_px: int
) -> np.ndarray:
    """Scale the detector's maps as ``heat_of``, on the grid of the prepared slices.

    Args:
        maps: ``(S, 6, h, w)`` over the detector's input.
        fit: Mapping of native slices to this input.
        first_px: ``(S, 2)`` position of the first native pixel in the prepared slice, see
            ``HeatPlace``.
        side_px: Side of the prepared slices.

    Returns:
        ``(S, 6, 100, 100)`` float32 in 0..1; 0 where a prepared slice exceeds the input.
    """
    fine = smooth_resize(maps.clip(min=0), _FINE)
    fine /= fine.max(axis=(0, 2, 3), keepdims=True).clip(min=1e-6)
    cell, fine_px = side_px / HEAT_PX, SIDE_PX / _FINE
    scale = np.array(fit.scale) * cell / fine_px
    heat = np.empty((*maps.shape[:2], HEAT_PX, HEAT_PX), dtype=np.float32)
    for of_slice, first, target in zip(fine, first_px, heat, strict=True):
        # The centre of heat cell i lies at (i + 1/2) cell - first native pixels.
        start = (np.array(fit.scale) * (cell / 2 - first) + np.array(fit.offset)) / fine_px - 0.5
        for plane, resampled in zip(of_slice, target, strict=True):
            affine_transform(plane, scale, start, order=1, mode="constant", output=resampled)
    return heat


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
