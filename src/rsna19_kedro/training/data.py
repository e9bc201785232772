"""Training and validation samples: int16 slices as they are stored, and their labels."""

from dataclasses import dataclass
from typing import NamedTuple

import lightning as L
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rsna19_kedro.contracts import AIR_HU, CLASSES
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.errors import InputError
from rsna19_kedro.training.plan import Unit, run_starts, unit_samples
from rsna19_kedro.training.slices import (
    ReducedSlices,
    SliceReader,
    SliceTable,
    StudyTable,
    masked_slices,
    read_window,
)


class Batch(NamedTuple):
    """Samples of a training step.

    Attributes:
        slices: ``(N, S, H, W)`` int16 HU, or float32 network input that is reduced already.
        labels: ``(N, T, 6)`` of the T predicted slices, NaN for a slice without labels.
        masks: ``(N, H, W)`` int8 of the predicted slice, -1 without a mask; ``(N, 0)`` where
            the network has no decoder.
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
    """Samples one by one; the fields of a ``Batch`` without their first axis."""

    def __init__(
        self,
        reader: SliceReader,
        table: StudyTable,
        samples: Samples,
        masks: VolumeStore | None = None,
        air: float = AIR_HU,
    ) -> None:
        self.reader, self.table, self.samples = reader, table, samples
        self.masks, self.air = masks, air
        self._with_masks = frozenset(masks.study_ids()) if masks else frozenset()

    def __len__(self) -> int:
        return len(self.samples.studies)

    def __getitem__(self, position: int) -> Batch:
        samples = self.samples
        study, target = int(samples.studies[position]), int(samples.targets[position])
        name, slices = self.table.study_ids[study], int(self.table.slices[study])
        count = samples.predicted + 2 * samples.margin
        window = read_window(self.reader, name, slices, target - samples.margin, count, self.air)
        labels = np.full((samples.predicted, len(CLASSES)), np.nan, np.float32)
        known = self.table.labels[study][target : target + samples.predicted]
        labels[: len(known)] = known
        return Batch(
            torch.from_numpy(window),
            torch.from_numpy(labels),
            self._mask(name, target),
            torch.tensor(study),
            torch.tensor(target),
        )

    def _mask(self, study_id: str, target: int) -> Tensor:
        if self.masks is None:
            return torch.empty(0, dtype=torch.int8)
        if study_id not in self._with_masks:
            side = self.masks_shape
            return torch.full(side, -1, dtype=torch.int8)
        mask = self.masks.read(study_id, target, target + 1)[0]
        return torch.from_numpy(mask.astype(np.int8))

    @property
    def masks_shape(self) -> tuple[int, int]:
        """Rows and columns of the masks, which are those of the volumes."""
        assert self.masks is not None
        return self.masks.shape(min(self._with_masks))[1:] if self._with_masks else (1, 1)


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
        air: Network input of air, for ``reduced``.
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
        air: float = AIR_HU,
    ) -> None:
        super().__init__()
        self.reader: SliceReader = fold.store if reduced is None else reduced
        self.air = AIR_HU if reduced is None else air
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
        windows = SampleDataset(self.reader, self.studies, mine, self.fold.masks, self.air)
        return self._loader(windows, unit.batch // world)

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

    def _loader(self, dataset: Dataset, batch: int | None) -> DataLoader:
        return DataLoader(
            dataset,
            batch_size=batch,
            shuffle=False,
            num_workers=self.workers,
            multiprocessing_context="spawn" if self.workers else None,
            pin_memory=torch.cuda.is_available(),
        )
