"""Evidence on the slices: the coarse maps of a network as smooth pictures over a prepared slice."""

from pathlib import Path

import numpy as np
from scipy.ndimage import zoom

HEAT_PX = 100
"""Side of the evidence maps of a result; they cover the prepared slice."""


def read_heat(folder: Path, name: str) -> np.ndarray | None:
    """Maps of a study, by the name of its volume; ``None`` where it has none."""
    path = folder / f"{name}.npy"
    return np.load(path) if path.is_file() else None


def heat_of(evidence: np.ndarray, share: float) -> np.ndarray:
    """Positive evidence as a share of the study's strongest, on the grid of the whole slice.

    Args:
        evidence: ``(S, 6, h, w)`` over the network's crop.
        share: Side of the crop over the side of the prepared slice.

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
    """Enlarge by the cubic B-splines that have the maps as coefficients.

    Unlike an interpolation (linear or cubic) the surface weighs each cell with its neighbours.
    So it is highest where a bright region is widest, not at whichever of its cells is brightest
    by a hair: on synthetic heads the highest point of the decoder's masks then lies inside the
    haemorrhage far more often (``benchmarks/evidence.py``). It never leaves the range of the
    maps and 0, which they are taken to be beyond their border.

    Args:
        maps: ``(..., h, w)``.
        side: Of the result.

    Returns:
        ``(..., side, side)`` float32.
    """
    of_rows, of_cols = (_weights(cells, side) for cells in maps.shape[-2:])
    return np.einsum("yi,...ij,xj->...yx", of_rows, maps, of_cols, optimize=True)


def _weights(cells: int, side: int) -> np.ndarray:
    """What each of ``cells`` gives to each of ``side`` places, ``(side, cells)``."""
    spline = [
        zoom(one, side / cells, order=3, prefilter=False, mode="grid-constant", grid_mode=True)
        for one in np.eye(cells, dtype=np.float32)
    ]
    return np.stack(spline, axis=1)
