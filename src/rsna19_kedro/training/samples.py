"""Training samples: the slices of each batch, and how they are read.

Slices are read as stored (int16 HU) directly into the memory of the batch; all pixel operations
run on the training device.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from rsna19_kedro.commands import kedro_run
from rsna19_kedro.contracts import AIR_HU, CLASSES
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.errors import InputError, counted
from rsna19_kedro.networks.input_size import InputSize
from rsna19_kedro.networks.network_input import look_up
from rsna19_kedro.training.plan import Unit, run_starts, unit_samples


class Batch(NamedTuple):
    """Samples of a training step, on one device.

    Attributes:
        slices: ``(N, S, H, W)`` int16 HU, or float32 network input after reduction.
        labels: ``(N, T, 6)`` of the T predicted slices, NaN for a slice without labels.
        masks: ``(N, H, W)`` int8 of the predicted slice, -1 without a mask; ``(N, 0, 0)`` if the
            network has no decoder.
        names: ``(N, 2)`` index of the study in the table of studies, and first predicted slice;
            always on the CPU, for messages.
    """

    slices: Tensor
    labels: Tensor
    masks: Tensor
    names: np.ndarray

    def pinned(self) -> Self:
        """Copy the batch to page-locked memory, which a GPU reads while it computes."""
        tensors = (self.slices.pin_memory(), self.labels.pin_memory(), self.masks.pin_memory())
        return self._replace(slices=tensors[0], labels=tensors[1], masks=tensors[2])

    def to(self, device: torch.device) -> Self:
        """Copy the batch to a device."""
        slices, labels, masks = (part.to(device, non_blocking=True) for part in self[:3])
        return self._replace(slices=slices, labels=labels, masks=masks)


@dataclass(frozen=True)
class SliceTable:
    """Labelled slices, ordered by study and slice number.

    Attributes:
        study_ids: M studies, sorted.
        study_slices: ``(M,)`` number of slices of each study.
        studies: ``(N,)`` index of each slice's study.
        slice_nums: ``(N,)`` slice numbers.
        labels: ``(N, 6)`` float32.
    """

    study_ids: list[str]
    study_slices: np.ndarray
    studies: np.ndarray
    slice_nums: np.ndarray
    labels: np.ndarray

    @classmethod
    def from_frame(cls, slices: pd.DataFrame, volume_index: pd.DataFrame) -> "SliceTable":
        """Build the table from slices with the columns of ``folds``."""
        ordered = slices.sort_values(["study_id", "slice_num"], kind="stable")
        names, studies = np.unique(ordered["study_id"].to_numpy(dtype=str), return_inverse=True)
        counts = volume_index.set_index("study_id")["slices"].reindex(names)
        return cls(
            study_ids=names.tolist(),
            study_slices=counts.to_numpy(np.int64),
            studies=studies,
            slice_nums=ordered["slice_num"].to_numpy(np.int64, copy=True),
            labels=ordered[list(CLASSES)].to_numpy(np.float32, copy=True),
        )

    def __len__(self) -> int:
        return len(self.studies)

    def labels_by_study(self) -> list[np.ndarray]:
        """Return the labels ``(slices, 6)`` per study; NaN for a slice without labels."""
        ends = np.cumsum(self.study_slices)
        known = np.full((int(ends[-1]), len(CLASSES)), np.nan, np.float32)
        known[(ends - self.study_slices)[self.studies] + self.slice_nums] = self.labels
        return np.split(known, ends[:-1])

    def has_mask(self, masks: VolumeStore | None) -> np.ndarray:
        """Return ``(N,)`` whether each slice has a mask; slices without one are -1 in the mask."""
        has_mask = np.zeros(len(self), dtype=bool)
        for study in set(self.study_ids) & set(masks.study_ids() if masks else ()):
            rows = np.flatnonzero(self.studies == self.study_ids.index(study))
            assert masks is not None
            covered = masks.read(study).max(axis=(1, 2)) >= 0
            has_mask[rows] = covered[self.slice_nums[rows]]
        return has_mask


def _size(shape: tuple[int, ...]) -> str:
    slices, rows, columns = shape
    return f"{counted(slices, 'slice')} of {rows} x {columns} pixels"


@dataclass(frozen=True)
class FoldSlices:
    """Training and validation slices of a fold.

    Attributes:
        store: Prepared volumes.
        train: Slices of the other folds.
        validation: Slices of this fold.
        masks: Masks aligned with the volumes, for a network with a decoder.

    Raises:
        InputError: A mask has another shape than its volume.
    """

    store: VolumeStore
    train: SliceTable
    validation: SliceTable
    masks: VolumeStore | None = None

    def __post_init__(self) -> None:
        if self.masks is None:
            return
        for study in sorted(set(self.masks.study_ids()) & set(self.train.study_ids)):
            mask, volume = self.masks.shape(study), self.store.shape(study)
            if mask != volume:
                raise InputError(
                    f"The prepared mask of study {study} has {_size(mask)}, its volume "
                    f"{_size(volume)}: they are of different runs of volume_prep. Prepare both "
                    f"again: {kedro_run('--pipelines', 'volume_prep')}"
                )

    @property
    def side_px(self) -> int:
        """Side of the prepared slices, in pixels."""
        return self.store.shape(self.train.study_ids[0])[-1]


class ReducedStore:
    """Network input of whole slices, reduced once and kept in memory.

    With ``resize_px``, nothing random happens before the reduction. A slice of 400 px reduced to
    44 px takes 8 kB.

    Args:
        store: Prepared volumes.
        study_ids: Studies to hold.
        lut: ``(1401,)`` float32.
        size: Input size of the recipe.
    """

    def __init__(
        self, store: VolumeStore, study_ids: Iterable[str], lut: Tensor, size: InputSize
    ) -> None:
        self._slices = {
            study: look_up(torch.from_numpy(store.read(study)), lut, size).numpy()
            for study in study_ids
        }

    def shape(self, study_id: str) -> tuple[int, ...]:
        """Slices, rows and columns of a study."""
        return self._slices[study_id].shape

    def read_into(self, study_id: str, start: int, out: np.ndarray) -> None:
        """Copy slices ``start`` to ``start + len(out)`` of a study."""
        out[:] = self._slices[study_id][start : start + len(out)]


class Samples(NamedTuple):
    """The samples of a unit in order.

    Attributes:
        studies: ``(N,)`` index of the study.
        first: ``(N,)`` first predicted slice.
        predicted: Number T of predicted slices per sample.
        margin: Additional input slices on either side.
    """

    studies: np.ndarray
    first: np.ndarray
    predicted: int
    margin: int


class SampleReader:
    """Batches of one fold's training samples; safe to call from several threads.

    Args:
        fold: Slices and labels.
        window: Slices that one prediction depends on.
        single_window: The same in single-slice epochs.
        run_slices: Slices per run; ``None`` if a sample is one slice with its window.
        reduced: Network input after reduction, and the value of air in it; ``None`` to read HU
            from the store.
    """

    def __init__(
        self,
        fold: FoldSlices,
        window: int,
        single_window: int,
        run_slices: int | None,
        reduced: tuple[ReducedStore, float] | None = None,
    ) -> None:
        self.table, self.masks = fold.train, fold.masks
        self.window, self.single_window, self.run_slices = window, single_window, run_slices
        self._source: VolumeStore | ReducedStore = reduced[0] if reduced else fold.store
        self._air = reduced[1] if reduced else float(AIR_HU)
        self._dtype = torch.float32 if reduced else torch.int16
        self._shape = self._source.shape(self.table.study_ids[0])[1:]
        self._labels = self.table.labels_by_study()
        self.masked = np.flatnonzero(self.table.has_mask(fold.masks))
        self._with_masks = set(fold.masks.study_ids()) if fold.masks else set()

    def __len__(self) -> int:
        """Samples per epoch, without repetitions."""
        return len(self.table.study_ids) if self.run_slices else len(self.table)

    def samples(self, unit: Unit, seed: tuple[int, ...]) -> Samples:
        """Samples of a unit.

        Args:
            unit: A unit of the plan.
            seed: Identifies training and phase.
        """
        order = unit_samples(unit, seed)
        if self.run_slices is not None:
            predicted = self.run_slices - self.window + 1
            starts = run_starts(unit, seed, self.table.study_slices, predicted)
            return Samples(order, starts[order], predicted, self.window // 2)
        repeated = order >= len(self.table)  # Repetitions of slices with a mask.
        if repeated.any():
            order[repeated] = self.masked[(order[repeated] - len(self.table)) % len(self.masked)]
        window = self.single_window if unit.single_slice else self.window
        return Samples(self.table.studies[order], self.table.slice_nums[order], 1, window // 2)

    def read(self, samples: Samples, rows: np.ndarray) -> Batch:
        """Read some samples as a batch.

        Args:
            samples: Samples of the unit.
            rows: ``(N,)`` indices of the samples.

        Raises:
            DamagedFileError: A volume cannot be read.
        """
        studies, first = samples.studies[rows], samples.first[rows]
        length = samples.predicted + 2 * samples.margin
        slices = torch.empty((len(rows), length, *self._shape), dtype=self._dtype)
        labels = np.full((len(rows), samples.predicted, len(CLASSES)), np.nan, np.float32)
        for row, (study, start) in enumerate(zip(studies, first, strict=True)):
            self._fill(int(study), int(start) - samples.margin, slices[row].numpy())
            known = self._labels[study][start : start + samples.predicted]
            labels[row, : len(known)] = known
        masks = self._read_masks(studies, first)
        return Batch(slices, torch.from_numpy(labels), masks, np.stack([studies, first], axis=1))

    def _fill(self, study: int, start: int, out: np.ndarray) -> None:
        """Fill ``out`` with neighbouring slices, and with air outside the study."""
        before = min(max(-start, 0), len(out))
        after = max(start + len(out) - int(self.table.study_slices[study]), 0)
        stop = len(out) - min(after, len(out) - before)
        out[:before] = out[stop:] = self._air
        if before < stop:
            name = self.table.study_ids[study]
            self._source.read_into(name, start + before, out[before:stop])

    def _read_masks(self, studies: np.ndarray, numbers: np.ndarray) -> Tensor:
        if self.masks is None or not self._with_masks:
            return torch.empty((len(studies), 0, 0), dtype=torch.int8)
        side = self.masks.shape(min(self._with_masks))[1:]
        masks = torch.full((len(studies), *side), -1, dtype=torch.int8)
        for row, (study, number) in enumerate(zip(studies, numbers, strict=True)):
            name = self.table.study_ids[study]
            if name in self._with_masks:
                (mask,) = self.masks.read(name, int(number), int(number) + 1)
                masks[row] = torch.from_numpy(mask.astype(np.int8))
        return masks
