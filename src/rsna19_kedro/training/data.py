"""Training and validation samples: int16 slices as they are stored, and their labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import lightning as L
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.errors import InputError
from rsna19_kedro.training.plan import Unit, run_starts, unit_samples
from rsna19_kedro.training.slices import (
    ReducedSlices,
    SliceReader,
    SliceTable,
    StoredSlices,
    StudyTable,
    fill_window,
    masked_slices,
)


class Batch(NamedTuple):
    """Samples of a training step.

    Attributes:
        slices: ``(N, S, H, W)`` int16 HU, or float32 network input that is reduced already.
        labels: ``(N, T, 6)`` of the T predicted slices, NaN for a slice without labels.
        masks: ``(N, H, W)`` int8 of the predicted slice, -1 without a mask; ``(N, 0, 0)`` where
            there are none at all.
        studies: ``(N,)`` number of the study in the training's ``StudyTable``.
        targets: ``(N,)`` number of the first predicted slice.
    """

    slices: Tensor
    labels: Tensor
    masks: Tensor
    studies: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Samples:
    """Which slices a dataset shows, and how much around them.

    Attributes:
        studies: ``(N,)`` study of each sample.
        targets: ``(N,)`` first predicted slice.
        predicted: Number T of predicted slices.
        margin: Slices on either side of them.
    """

    studies: np.ndarray
    targets: np.ndarray
    predicted: int
    margin: int


class SampleDataset(Dataset[Batch]):
    """Samples, a batch at a time: slices are decompressed right into the batch's memory.

    Args:
        reader: Where slices come from.
        table: Their studies and labels.
        samples: Which ones, in order.
        masks: Masks that lie on the volumes; ``None`` for a network without a decoder.
    """

    def __init__(
        self,
        reader: SliceReader,
        table: StudyTable,
        samples: Samples,
        masks: VolumeStore | None = None,
    ) -> None:
        self.reader, self.table, self.samples, self.masks = reader, table, samples, masks
        self._with_masks = sorted(masks.study_ids()) if masks else []

    def __len__(self) -> int:
        return len(self.samples.studies)

    def __getitem__(self, position: int) -> Batch:
        return self.__getitems__([position])

    def __getitems__(self, positions: Sequence[int]) -> Batch:
        """The samples at some positions (PyTorch asks so for a whole batch)."""
        samples = self.samples
        chosen = np.asarray(positions)
        studies, targets = samples.studies[chosen], samples.targets[chosen]
        slices = self.reader.empty(len(chosen), samples.predicted + 2 * samples.margin)
        labels = np.full((len(chosen), samples.predicted, len(CLASSES)), np.nan, np.float32)
        for row, (study, target) in enumerate(zip(studies, targets, strict=True)):
            fill_window(
                self.reader,
                self.table.study_ids[study],
                int(self.table.slices[study]),
                int(target) - samples.margin,
                slices[row].numpy(),
            )
            known = self.table.labels[study][target : target + samples.predicted]
            labels[row, : len(known)] = known
        return Batch(
            slices,
            torch.from_numpy(labels),
            self._masks_of(studies, targets),
            torch.from_numpy(studies),
            torch.from_numpy(targets),
        )

    def _masks_of(self, studies: np.ndarray, targets: np.ndarray) -> Tensor:
        """Masks ``(N, H, W)`` of the predicted slices; -1 where there is none."""
        if self.masks is None or not self._with_masks:
            return torch.empty((len(studies), 0, 0), dtype=torch.int8)
        side = self.masks.shape(self._with_masks[0])[1:]
        masks = torch.full((len(studies), *side), -1, dtype=torch.int8)
        for row, (study, target) in enumerate(zip(studies, targets, strict=True)):
            name = self.table.study_ids[study]
            if name in self._with_masks:
                (mask,) = self.masks.read(name, int(target), int(target) + 1)
                masks[row] = torch.from_numpy(mask.astype(np.int8))
        return masks


def as_it_is(batch: Batch) -> Batch:
    """In place of PyTorch's collation: the dataset gives whole batches."""
    return batch


class StudyDataset(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Whole studies: ``(S, H, W)`` int16, slice numbers ``(n,)`` and labels ``(n, 6)``."""

    def __init__(self, store: VolumeStore, table: SliceTable, share: slice = slice(None)) -> None:
        self.store, self.table = store, table
        rows = pd.Series(range(len(table))).groupby(np.array(table.study_ids, dtype=object))
        self.rows = {str(study): group.to_numpy() for study, group in rows}
        self.studies = list(self.rows)[share]

    def __len__(self) -> int:
        return len(self.studies)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor, Tensor]:
        study = self.studies[position]
        rows = self.rows[study]
        return (
            torch.from_numpy(self.store.read(study)),
            torch.from_numpy(self.table.slice_nums[rows]),
            torch.from_numpy(self.table.labels[rows]),
        )


@dataclass(frozen=True)
class FoldSlices:
    """What a fold is trained on and judged by.

    Attributes:
        store: Prepared volumes.
        train: Slices of the other folds.
        validation: Slices of this fold.
        masks: Masks that lie on the volumes, for a network with a decoder.
    """

    store: VolumeStore
    train: SliceTable
    validation: SliceTable
    masks: VolumeStore | None = None


@dataclass(frozen=True)
class SampleKind:
    """What one sample of a model is.

    Attributes:
        window: Slices that a prediction depends on.
        single_window: The same in single-slice epochs.
        run_slices: Slices of a run; ``None``: a sample is one slice with its window.
    """

    window: int
    single_window: int
    run_slices: int | None = None


class FoldData(L.LightningDataModule):
    """Batches of one unit of a phase, and the validation fold study by study.

    With several devices each takes its share of every batch and of the studies.

    Args:
        fold: Training and validation slices.
        kind: What a sample is.
        units: The phase's plan.
        seed: Identifies the training and the phase.
        workers: Processes that read; 0 for none.
        reduced: Training slices that were looked up before; ``None`` reads them as HU.
    """

    def __init__(
        self,
        fold: FoldSlices,
        kind: SampleKind,
        units: list[Unit],
        seed: tuple[int, ...],
        *,
        workers: int = 0,
        reduced: ReducedSlices | None = None,
    ) -> None:
        super().__init__()
        self.reader: SliceReader = reduced or StoredSlices(fold.store, fold.train.study_ids[0])
        self.fold, self.kind, self.units, self.seed = fold, kind, units, seed
        self.workers = workers
        self.studies = fold.train.studies()
        self.masked = np.flatnonzero(masked_slices(fold.train, fold.masks))

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of the unit that Lightning is at (it asks anew for each)."""
        assert self.trainer is not None
        unit = self.units[min(self.trainer.current_epoch, len(self.units) - 1)]
        rank, world = self.trainer.global_rank, self.trainer.world_size
        if unit.batch % world:
            raise InputError(f"{world} devices cannot share a batch of {unit.batch} evenly.")
        samples = self.samples(unit)
        share = np.arange(len(samples.studies)).reshape(-1, unit.batch)[:, rank::world].ravel()
        mine = Samples(
            samples.studies[share], samples.targets[share], samples.predicted, samples.margin
        )
        windows = SampleDataset(self.reader, self.studies, mine, self.fold.masks)
        return self._loader(windows, unit.batch // world, as_it_is)

    def samples(self, unit: Unit) -> Samples:
        """All samples of a unit, in their order."""
        order = unit_samples(unit, self.seed)
        run = self.kind.run_slices
        if run is not None:
            predicted = run - self.kind.window + 1
            starts = run_starts(unit, self.seed, self.studies.slices, predicted)
            return Samples(order, starts[order], predicted, self.kind.window // 2)
        window = self.kind.single_window if unit.single_slice else self.kind.window
        again = order >= len(self.fold.train)
        if again.any():
            order = order.copy()
            order[again] = self.masked[(order[again] - len(self.fold.train)) % len(self.masked)]
        studies = self.studies.of_slice[order]
        return Samples(studies, self.fold.train.slice_nums[order], 1, window // 2)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor, Tensor]]:
        """One study a batch."""
        assert self.trainer is not None
        share = slice(self.trainer.global_rank, None, self.trainer.world_size)
        return self._loader(StudyDataset(self.fold.store, self.fold.validation, share), None)

    def _loader(
        self, dataset: Dataset, batch: int | None, collate: Callable | None = None
    ) -> DataLoader:
        return DataLoader(
            dataset,
            batch_size=batch,
            collate_fn=collate,
            shuffle=False,
            num_workers=self.workers,
            multiprocessing_context="spawn" if self.workers else None,
            pin_memory=torch.cuda.is_available(),
        )
