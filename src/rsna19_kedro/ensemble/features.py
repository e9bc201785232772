"""Second-level features: first-level predictions in a window of neighbouring slices."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from rsna19_kedro.contracts import AREAS, CLASSES
from rsna19_kedro.ensemble.level1 import SEPARATOR, FirstLevel, Floats32, Ints
from rsna19_kedro.ensemble.settings import Beyond, WindowOptions
from rsna19_kedro.errors import ParameterError

LOGIT_EPS = 1e-4
"""Probabilities are clipped to ``[LOGIT_EPS, 1 - LOGIT_EPS]`` before the logit."""
LEAST_AREA = 1e-5
"""Minimum share of a slice before the logarithm: about one pixel of a mask."""
MEAN = "mean"
AGREEMENT = "agreement"


def neighbours(study: Ints, slice_num: Ints, radius: int, beyond: Beyond = "zeros") -> Ints:
    """Find the rows of the slices ``-radius..+radius`` around each slice of the same study.

    Neighbours are found by slice number, not by row: rows may be in any order, and missing
    slice numbers remain gaps.

    Args:
        study: ``(N,)`` number of the slice's study.
        slice_num: ``(N,)`` slice number in the study.
        radius: Slices on either side.
        beyond: Padding for missing slices: ``zeros`` gives -1, ``edge`` the first or last
            slice of the study (in a gap, the slice below it).

    Returns:
        ``(N, 2 * radius + 1)`` row numbers; -1 for no slice.
    """
    if not len(study):
        return np.empty((0, 2 * radius + 1), dtype=np.int64)
    codes, first, last = _extents(study, slice_num)
    lengths = last - first + 1
    starts = np.cumsum(lengths) - lengths
    slots = np.full(lengths.sum(), -1, dtype=np.int64)
    slot = starts[codes] + slice_num - first[codes]
    slots[slot] = np.arange(len(study))
    if beyond == "edge":
        filled = np.where(slots >= 0, np.arange(len(slots)), 0)
        slots = slots[np.maximum.accumulate(filled)]
    low, high = starts[codes], (starts + lengths - 1)[codes]
    rows = np.empty((len(study), 2 * radius + 1), dtype=np.int64)
    for column, offset in enumerate(range(-radius, radius + 1)):
        wanted = slot + offset
        rows[:, column] = slots[np.clip(wanted, low, high)]
        if beyond == "zeros":
            rows[(wanted < low) | (wanted > high), column] = -1
    return rows


def _extents(study: Ints, slice_num: Ints) -> tuple[Ints, Ints, Ints]:
    """Study number of each slice, and lowest and highest slice number of each study."""
    codes = np.unique(study, return_inverse=True)[1]
    limits = np.iinfo(np.int64)
    first, last = (np.full(codes.max() + 1, start) for start in (limits.max, limits.min))
    np.minimum.at(first, codes, slice_num)
    np.maximum.at(last, codes, slice_num)
    return codes, first, last


class Windows:
    """Features of the slices, computed when they are requested.

    Args:
        first_level: N slices of M models.
        options: Features to include; the reference uses only a radius of 2.

    Raises:
        ParameterError: Areas are enabled but no model predicts masks.
    """

    def __init__(self, first_level: FirstLevel, options: WindowOptions) -> None:
        if options.areas and first_level.areas is None:
            raise ParameterError(
                "The second level uses the areas of predicted masks, but no first-level table of "
                f"{', '.join(first_level.models)} has them. Add a model with masks (such as "
                "resnet18_384_5_planes_bn_f8; if its tables are of an older version, predict "
                "again), or set features.areas to false."
            )
        self._reach = max(options.radius, options.mean_radius or 0)
        self._near = neighbours(
            first_level.study, first_level.slice_num, self._reach, options.beyond
        )
        values, self._nothing = first_level.predictions, np.zeros(1, np.float32)
        if options.scale == "logit":
            values, self._nothing = to_logits(values), to_logits(self._nothing)
        each = values.reshape(len(values), len(first_level.models) * len(CLASSES))
        sources = (each, values.mean(axis=1))
        self._sources = tuple(zip(sources, _offsets(options), strict=True))
        self._single = tuple(_single_columns(first_level, options))
        self.width = len(feature_names(first_level.models, options))

    def __len__(self) -> int:
        return len(self._near)

    def rows(self, chosen: Ints | slice, order: Literal["C", "F"] = "C") -> Floats32:
        """Features of some slices, ``(n, F)``; ``feature_names`` names the columns."""
        near = self._near[chosen]
        features = np.empty((len(near), self.width), np.float32, order=order)
        start = 0
        for block in self.blocks(chosen):
            features[:, start : start + block.shape[1]] = block
            start += block.shape[1]
        return features

    def blocks(self, chosen: Ints | slice) -> Iterator[Floats32]:
        """Yield the columns of ``rows`` in several parts, which take less memory."""
        near = self._near[chosen]
        for source, offsets in self._sources:
            for offset in offsets:
                taken = near[:, offset + self._reach]
                part = np.take(source, taken, axis=0, mode="wrap")
                part[taken < 0] = self._nothing
                yield part
        for column in self._single:
            yield column[chosen]


def _single_columns(first_level: FirstLevel, options: WindowOptions) -> Iterator[Floats32]:
    """Columns that do not depend on the neighbours."""
    if options.agreement:
        yield first_level.predictions.std(axis=1)
    if options.areas and first_level.areas is not None:
        yield np.log10(np.maximum(first_level.areas, LEAST_AREA))
    position, length = slice_positions(first_level.study, first_level.slice_num)
    if options.position:
        yield position[:, None]
    if options.length:
        yield length[:, None]


def window_features(first_level: FirstLevel, options: WindowOptions) -> Floats32:
    """Compute the features of all slices, ``(N, F)``; see ``Windows``."""
    return Windows(first_level, options).rows(slice(None))


def feature_names(models: Sequence[str], options: WindowOptions) -> list[str]:
    """Return the names of the columns of ``window_features``.

    ``<model>|<class>|<offset>``, with ``mean`` for the mean of the models, then
    ``agreement|<class>``, ``area_<mask>``, ``position`` and ``length``.
    """
    near, far = _offsets(options)
    wanted = [(offset, model) for offset in near for model in models]
    wanted += [(offset, MEAN) for offset in far]
    names = [
        SEPARATOR.join((model, name, f"{offset:+d}" if offset else "0"))
        for offset, model in wanted
        for name in CLASSES
    ]
    if options.agreement:
        names += [SEPARATOR.join((AGREEMENT, name)) for name in CLASSES]
    if options.areas:
        names += AREAS
    return names + ["position"] * options.position + ["length"] * options.length


def slice_positions(study: Ints, slice_num: Ints) -> tuple[Floats32, Floats32]:
    """Return the relative position of each slice in its study, and the length of the study.

    Args:
        study: ``(N,)`` number of the slice's study.
        slice_num: ``(N,)`` slice number in the study.

    Returns:
        ``(N,)`` from 0 at the lowest to 1 at the highest slice (0.5 for a single slice), and
        ``(N,)`` number of slices in the study, without gaps.
    """
    if not len(study):
        return np.empty(0, np.float32), np.empty(0, np.float32)
    codes, first, last = _extents(study, slice_num)
    span = (last - first)[codes]
    position = np.where(span > 0, (slice_num - first[codes]) / np.maximum(span, 1), 0.5)
    return position.astype(np.float32), np.bincount(codes)[codes].astype(np.float32)


def to_logits(probabilities: Floats32) -> Floats32:
    """Compute logits of float32 probabilities, clipped to be finite."""
    clipped = np.clip(probabilities, LOGIT_EPS, 1.0 - LOGIT_EPS).astype(np.float32)
    return np.log(clipped / (np.float32(1) - clipped))


def _offsets(options: WindowOptions) -> tuple[range, range]:
    """Slice offsets of the single models, and of their mean."""
    near = range(-options.radius, options.radius + 1)
    if options.mean_radius is None:
        return near, range(0)
    return near, range(-options.mean_radius, options.mean_radius + 1)
