"""Slices and their labels as arrays, and where their pixels are read from."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from rsna19_kedro.contracts import AIR_HU, CLASSES
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.networks.input_size import InputSize
from rsna19_kedro.networks.network_input import look_up


class SliceReader(Protocol):
    """Where windows are read from: a store, or slices that were looked up before.

    Attributes:
        air: What stands beyond the ends of a study.
    """

    air: float

    def empty(self, samples: int, slices: int) -> Tensor:
        """Memory ``(samples, slices, H, W)`` of the reader's type for a batch."""
        ...

    def read_into(self, study_id: str, start: int, out: np.ndarray) -> None:
        """Fill ``out`` ``(n, H, W)`` with the slices of a study from ``start`` on."""
        ...


class StoredSlices:
    """Slices as they are stored, int16 HU.

    Args:
        store: Prepared volumes.
        study_id: Any of the studies; all have its rows and columns.
    """

    air = float(AIR_HU)

    def __init__(self, store: VolumeStore, study_id: str) -> None:
        self._store = store
        self._shape = store.shape(study_id)[1:]

    def empty(self, samples: int, slices: int) -> Tensor:
        """Memory for a batch of HU."""
        return torch.empty((samples, slices, *self._shape), dtype=torch.int16)

    def read_into(self, study_id: str, start: int, out: np.ndarray) -> None:
        """Fill ``out`` from the store."""
        self._store.read_into(study_id, start, out)


class ReducedSlices:
    """Slices looked up and reduced once, kept in memory.

    For inputs that are reduced, nothing random happens before the reduction, so there is no
    need to do it anew in every epoch. At a reduction by 8 a slice takes 10 kB.

    Args:
        store: Prepared volumes.
        study_ids: Studies to hold.
        lut: ``(1401,)`` float32.
        size: The recipe's input, with ``resize_px``.
    """

    def __init__(
        self, store: VolumeStore, study_ids: Iterable[str], lut: Tensor, size: InputSize
    ) -> None:
        self.air = float(lut[0])
        self._slices = {
            study: look_up(torch.from_numpy(store.read(study)), lut, size).numpy()
            for study in study_ids
        }

    def empty(self, samples: int, slices: int) -> Tensor:
        """Memory for a batch of network input."""
        side = next(iter(self._slices.values())).shape[1:]
        return torch.empty((samples, slices, *side))

    def read_into(self, study_id: str, start: int, out: np.ndarray) -> None:
        """Fill ``out`` from memory."""
        out[:] = self._slices[study_id][start : start + len(out)]


def fill_window(
    reader: SliceReader, study_id: str, slices: int, first: int, out: np.ndarray
) -> None:
    """Fill memory with neighbouring slices, air where they leave the study.

    Args:
        reader: Where they come from.
        study_id: The study.
        slices: Its number of slices.
        first: First slice number, negative where it lies before the study.
        out: ``(n, H, W)``.
    """
    before = min(max(-first, 0), len(out))
    after = min(max(first + len(out) - slices, 0), len(out) - before)
    out[:before] = reader.air
    out[len(out) - after :] = reader.air
    if before + after < len(out):
        reader.read_into(study_id, first + before, out[before : len(out) - after])


@dataclass(frozen=True)
class SliceTable:
    """Slices with their labels, as arrays.

    Attributes:
        study_ids: Study of each slice.
        slice_nums: ``(N,)`` slice numbers.
        study_slices: ``(N,)`` number of slices of its study.
        labels: ``(N, 6)`` float32.
    """

    study_ids: list[str]
    slice_nums: np.ndarray
    study_slices: np.ndarray
    labels: np.ndarray

    @classmethod
    def from_frame(cls, slices: pd.DataFrame, volume_index: pd.DataFrame) -> "SliceTable":
        """Take slices with the columns of ``folds`` in the order of study and slice number."""
        ordered = slices.sort_values(["study_id", "slice_num"], kind="stable")
        counts = ordered["study_id"].map(volume_index.set_index("study_id")["slices"])
        return cls(
            study_ids=ordered["study_id"].astype(str).tolist(),
            slice_nums=ordered["slice_num"].to_numpy(np.int64, copy=True),
            study_slices=counts.to_numpy(np.int64),
            labels=ordered[list(CLASSES)].to_numpy(np.float32, copy=True),
        )

    def __len__(self) -> int:
        return len(self.study_ids)

    def studies(self) -> "StudyTable":
        """The same slices, a study a row."""
        names, first, of_study = np.unique(
            np.array(self.study_ids, dtype=object), return_index=True, return_inverse=True
        )
        labels = [
            np.full((slices, len(CLASSES)), np.nan, np.float32)
            for slices in self.study_slices[first]
        ]
        for study, number, row in zip(of_study, self.slice_nums, self.labels, strict=True):
            labels[study][number] = row
        return StudyTable(names.tolist(), self.study_slices[first], labels, of_study)


@dataclass(frozen=True)
class StudyTable:
    """Studies with the labels of their slices.

    Attributes:
        study_ids: M names, sorted.
        slices: ``(M,)`` number of slices.
        labels: M times ``(slices, 6)`` float32, NaN for a slice without labels.
        of_slice: ``(N,)`` study of each slice of the table that this was made from.
    """

    study_ids: list[str]
    slices: np.ndarray
    labels: list[np.ndarray]
    of_slice: np.ndarray


def masked_slices(table: SliceTable, masks: VolumeStore | None) -> np.ndarray:
    """``(N,)`` whether a slice has a mask; a mask may leave slices of its study out (-1)."""
    has = np.zeros(len(table), dtype=bool)
    if masks is None:
        return has
    with_masks = set(masks.study_ids())
    rows = pd.Series(range(len(table))).groupby(np.array(table.study_ids, dtype=object))
    for study, positions in rows:
        if study in with_masks:
            covered = masks.read(str(study)).max(axis=(1, 2)) >= 0
            has[positions] = covered[table.slice_nums[positions]]
    return has
