"""Windows along the slices: what the neighbours of a slice were predicted to show."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble.level1 import SEPARATOR, FirstLevel, Floats32, Ints

Beyond = Literal["zeros", "edge"]


def neighbours(study: Ints, slice_num: Ints, radius: int, beyond: Beyond = "zeros") -> Ints:
    """Rows of the slices ``-radius..+radius`` around each slice, in its own study.

    Neighbours are found by slice number, not by row: rows may come in any order, and a
    number that a study lacks is a gap, never another number's slice.

    Args:
        study: ``(N,)`` number of the slice's study.
        slice_num: ``(N,)`` place in the study.
        radius: Slices on either side.
        beyond: What stands where there is no slice: ``zeros`` marks it by -1, ``edge``
            takes the study's first or last slice (in a gap, the slice below it).

    Returns:
        ``(N, 2 * radius + 1)`` row numbers, -1 where there is none.
    """
    count = len(study)
    if not count:
        return np.empty((0, 2 * radius + 1), dtype=np.int64)
    codes = np.unique(study, return_inverse=True)[1]
    first = np.full(codes.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, codes, slice_num)
    last = np.full(codes.max() + 1, np.iinfo(np.int64).min)
    np.maximum.at(last, codes, slice_num)
    lengths = last - first + 1
    starts = np.cumsum(lengths) - lengths
    slots = np.full(lengths.sum(), -1, dtype=np.int64)
    own = starts[codes] + slice_num - first[codes]
    slots[own] = np.arange(count)
    if beyond == "edge":
        filled = np.where(slots >= 0, np.arange(len(slots)), 0)
        slots = slots[np.maximum.accumulate(filled)]
    low, high = starts[codes], (starts + lengths - 1)[codes]
    rows = np.empty((count, 2 * radius + 1), dtype=np.int64)
    for place, offset in enumerate(range(-radius, radius + 1)):
        wanted = own + offset
        rows[:, place] = slots[np.clip(wanted, low, high)]
        if beyond == "zeros":
            rows[(wanted < low) | (wanted > high), place] = -1
    return rows


def window_features(first_level: FirstLevel, radius: int, beyond: Beyond = "zeros") -> Floats32:
    """Predictions of the neighbouring slices as features (reference, section 6: radius 2).

    Args:
        first_level: N slices of M models.
        radius: Slices on either side.
        beyond: ``zeros`` (reference) or ``edge`` beyond the ends of a study.

    Returns:
        ``(N, (2 * radius + 1) * M * 6)`` float32, named by ``feature_names``.
    """
    count = len(first_level)
    width = first_level.predictions[0].size if count else len(first_level.models) * len(CLASSES)
    values = np.ascontiguousarray(first_level.predictions).reshape(count, width)
    rows = neighbours(first_level.study, first_level.slice_num, radius, beyond)
    features = np.empty((count, rows.shape[1], width), dtype=np.float32)
    for place in range(rows.shape[1]):
        features[:, place] = values[rows[:, place]]
        features[rows[:, place] < 0, place] = 0.0
    return features.reshape(count, rows.shape[1] * width)


def feature_names(models: Sequence[str], radius: int) -> list[str]:
    """Names ``<model>|<class>|<offset>`` in the order of ``window_features``."""
    return [
        SEPARATOR.join((model, name, f"{offset:+d}" if offset else "0"))
        for offset in range(-radius, radius + 1)
        for model in models
        for name in CLASSES
    ]
