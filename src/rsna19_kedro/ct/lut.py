"""The look-up table that turns HU -400..1000 into the network's input in [-1, 1]."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np
import pandas as pd
from scipy import ndimage

from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.errors import ParameterError, SourceError

LUT_LOW_HU: Final = -400
LUT_HIGH_HU: Final = 1000
LUT_SIZE: Final = LUT_HIGH_HU - LUT_LOW_HU + 1

REFERENCE_KNOTS: Final = (
    (-400, -1.0),
    (-101, -0.986125),
    (-51, -0.939722),
    (-1, -0.707703),
    (19, -0.522088),
    (69, 0.405986),
    (99, 0.684408),
    (149, 0.916427),
    (199, 0.962831),
    (1000, 1.0),
)
"""The hand-drawn curve of the reference (section 2, point 5)."""


def lut_from_knots(knots: Sequence[tuple[float, float]] = REFERENCE_KNOTS) -> np.ndarray:
    """Table that is linear between knots.

    Args:
        knots: Pairs (HU, value) by rising HU, from -400 to 1000; values in -1..1. They may
            fall again, as in a table that shows blood bright and bone dark.

    Returns:
        (1401,) float32, the values of HU -400, -399, ..., 1000.

    Raises:
        ParameterError: The knots are not as described.
    """
    table = np.asarray(knots, dtype=float)
    problem = None
    if table.ndim != 2 or table.shape[1] != 2 or len(table) < 2:
        problem = "they are not a list of at least two pairs [HU, value]"
    elif (np.diff(table[:, 0]) <= 0).any():
        problem = "their HU do not rise"
    elif table[0, 0] != LUT_LOW_HU or table[-1, 0] != LUT_HIGH_HU:
        problem = f"their HU run from {table[0, 0]:g} to {table[-1, 0]:g}"
    elif np.abs(table[:, 1]).max() > 1:
        problem = "their values leave -1..1"
    if problem:
        raise ParameterError(
            f"The knots of the HU table cannot be used: {problem}. Expected pairs [HU, value] "
            f"from {LUT_LOW_HU} to {LUT_HIGH_HU} HU with rising HU and values that rise within "
            "-1..1; see volume_prep.hu_lut.knots."
        )
    hu = np.arange(LUT_LOW_HU, LUT_HIGH_HU + 1)
    return np.interp(hu, table[:, 0], table[:, 1]).astype(np.float32)


def lut_equalising(slices: Iterable[np.ndarray]) -> np.ndarray:
    """Table that makes every input value equally frequent inside the heads of a sample.

    The value of a HU is twice the share of voxels below it, less one (half of the voxels at
    that very HU count), stretched to run from -1 to 1. Voxels beyond the table do not count:
    clipped to its ends they would make a step there.

    Args:
        slices: (H, W) int16 HU each, used one after the other.

    Returns:
        (1401,) float32.

    Raises:
        SourceError: There is no voxel of a head in the sample.
    """
    counts = np.zeros(LUT_SIZE, dtype=np.int64)
    for hu in slices:
        inside = hu[head_mask(hu) & (hu >= LUT_LOW_HU) & (hu <= LUT_HIGH_HU)]
        counts += np.bincount(inside.astype(np.int64) - LUT_LOW_HU, minlength=LUT_SIZE)
    total = counts.sum()
    if total == 0:
        raise SourceError(
            "The HU table cannot be fitted: the sample of training slices shows no head (no "
            f"region above {LUT_LOW_HU} HU). Set volume_prep.hu_lut.kind to knots."
        )
    rank = (np.cumsum(counts) - counts / 2) / total
    low, high = rank[0], rank[-1]
    if high <= low:
        return np.linspace(-1, 1, LUT_SIZE).astype(np.float32)
    return (2 * (rank - low) / (high - low) - 1).astype(np.float32)


def sample_slices(
    volumes: VolumeStore, studies: pd.DataFrame, count: int, seed: int
) -> Iterator[np.ndarray]:
    """Draw slices without replacement, each as likely as any other.

    Args:
        volumes: Prepared volumes.
        studies: Rows of ``volume_index``.
        count: Number of slices; all of them if there are fewer.
        seed: Seed of the draw.

    Yields:
        (H, W) int16 HU.
    """
    study = np.repeat(studies["study_id"].to_numpy(dtype=object), studies["slices"])
    number = np.concatenate([np.arange(slices) for slices in studies["slices"]] or [np.arange(0)])
    for index in np.sort(np.random.default_rng(seed).permutation(len(study))[:count]):
        yield volumes.read(str(study[index]), int(number[index]), int(number[index]) + 1)[0]


def head_mask(hu: np.ndarray) -> np.ndarray:
    """The largest connected region above -400 HU, its holes filled: a head without its table.

    Args:
        hu: (H, W) HU.

    Returns:
        (H, W) booleans, all false where nothing is above -400 HU.
    """
    regions, count = ndimage.label(hu > LUT_LOW_HU)
    if count == 0:
        return np.zeros(hu.shape, dtype=bool)
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    return np.asarray(ndimage.binary_fill_holes(regions == sizes.argmax()))


def lut_to_table(lut: np.ndarray) -> pd.DataFrame:
    """Table with columns ``hu`` (int16) and ``value`` (float32) of a (1401,) array."""
    hu = np.arange(LUT_LOW_HU, LUT_HIGH_HU + 1, dtype=np.int16)
    return pd.DataFrame({"hu": hu, "value": np.asarray(lut, dtype=np.float32)})


def lut_from_table(table: pd.DataFrame) -> np.ndarray:
    """The (1401,) float32 array of a table made by ``lut_to_table``.

    Raises:
        SourceError: The table is not of this form.
    """
    expected = np.arange(LUT_LOW_HU, LUT_HIGH_HU + 1)
    if {"hu", "value"} - set(table.columns) or not np.array_equal(table["hu"], expected):
        raise SourceError(
            f"The HU table has columns {list(table.columns)} and {len(table)} rows; expected hu "
            f"({LUT_LOW_HU}..{LUT_HIGH_HU}, one row each) and value. Run the pipeline volume_prep "
            "again."
        )
    return table["value"].to_numpy(dtype=np.float32).copy()
