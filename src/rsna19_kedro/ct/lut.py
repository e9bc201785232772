"""The look-up table (LUT) from HU -400..1000 to the network's input in [-1, 1]."""

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
"""The hand-drawn curve of the reference solution (docs/reference.md#network-input)."""


def lut_from_knots(knots: Sequence[tuple[float, float]] = REFERENCE_KNOTS) -> np.ndarray:
    """Build a table that is linear between knots.

    Args:
        knots: Pairs (HU, value) with increasing HU from -400 to 1000 and values in -1..1. Values
            may decrease, as in a table that shows blood bright and bone dark.

    Returns:
        (1401,) float32, values for HU -400, -399, ..., 1000.

    Raises:
        ParameterError: The knots are invalid.
    """
    table = np.asarray(knots, dtype=float)
    problem = None
    if table.ndim != 2 or table.shape[1] != 2 or len(table) < 2:
        problem = "they are not a list of at least two pairs [HU, value]"
    elif (np.diff(table[:, 0]) <= 0).any():
        problem = "their HU do not increase"
    elif table[0, 0] != LUT_LOW_HU or table[-1, 0] != LUT_HIGH_HU:
        problem = f"their HU range from {table[0, 0]:g} to {table[-1, 0]:g}"
    elif np.abs(table[:, 1]).max() > 1:
        problem = "their values are outside -1..1"
    if problem:
        raise ParameterError(
            f"The knots of the HU table cannot be used: {problem}. Expected pairs [HU, value] "
            f"with increasing HU from {LUT_LOW_HU} to {LUT_HIGH_HU} and values in -1..1; see "
            "volume_prep.hu_lut.knots."
        )
    hu = np.arange(LUT_LOW_HU, LUT_HIGH_HU + 1)
    return np.interp(hu, table[:, 0], table[:, 1]).astype(np.float32)


def lut_equalising(slices: Iterable[np.ndarray]) -> np.ndarray:
    """Build a table by histogram equalisation of the heads in a sample of slices.

    The value of a HU is twice the share of voxels below it (plus half of the voxels at that HU)
    minus one, stretched to -1..1. Voxels outside the range of the table are not counted: clipped
    to its ends, they would cause a step there.

    Args:
        slices: (H, W) int16 HU each, read one at a time.

    Returns:
        (1401,) float32.

    Raises:
        SourceError: The sample contains no head.
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
    """Draw slices uniformly without replacement.

    Args:
        volumes: Prepared volumes.
        studies: Rows of ``volume_index``.
        count: Number of slices; all if there are fewer.
        seed: Random seed.

    Yields:
        (H, W) int16 HU.
    """
    study = np.repeat(studies["study_id"].to_numpy(dtype=object), studies["slices"])
    number = np.concatenate([np.arange(slices) for slices in studies["slices"]] or [np.arange(0)])
    for index in np.sort(np.random.default_rng(seed).permutation(len(study))[:count]):
        yield volumes.read(str(study[index]), int(number[index]), int(number[index]) + 1)[0]


def head_mask(hu: np.ndarray) -> np.ndarray:
    """Return the largest connected region above -400 HU, holes filled: the head without the couch.

    Args:
        hu: (H, W) HU.

    Returns:
        (H, W) booleans, all false if nothing is above -400 HU.
    """
    regions, count = ndimage.label(hu > LUT_LOW_HU)
    if count == 0:
        return np.zeros(hu.shape, dtype=bool)
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    return np.asarray(ndimage.binary_fill_holes(regions == sizes.argmax()))


def lut_to_table(lut: np.ndarray) -> pd.DataFrame:
    """Convert a (1401,) array to a table with columns ``hu`` (int16) and ``value`` (float32)."""
    hu = np.arange(LUT_LOW_HU, LUT_HIGH_HU + 1, dtype=np.int16)
    return pd.DataFrame({"hu": hu, "value": np.asarray(lut, dtype=np.float32)})


def lut_from_table(table: pd.DataFrame) -> np.ndarray:
    """Convert a table made by ``lut_to_table`` to a (1401,) float32 array.

    Raises:
        SourceError: The table has another form.
    """
    expected = np.arange(LUT_LOW_HU, LUT_HIGH_HU + 1)
    if {"hu", "value"} - set(table.columns) or not np.array_equal(table["hu"], expected):
        raise SourceError(
            f"The HU table has columns {list(table.columns)} and {len(table)} rows; expected hu "
            f"({LUT_LOW_HU}..{LUT_HIGH_HU}, one row each) and value. Run the pipeline volume_prep "
            "again."
        )
    return table["value"].to_numpy(dtype=np.float32).copy()
