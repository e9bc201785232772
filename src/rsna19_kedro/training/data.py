"""Training and validation samples: int16 slices as they are stored, and their labels."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import lightning as L
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from rsna19_kedro.contracts import AIR_HU, CLASSES
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.training.augmentation import look_up
from rsna19_kedro.training.plan import Unit, unit_samples
from rsna19_kedro.training.recipe import InputSize


class SliceReader(Protocol):
    """Where windows are read from: a store, or slices that were looked up before."""

    def read(self, study_id: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Give the slices from ``start`` to before ``stop`` of a study."""


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
        self._slices = {
            study: look_up(torch.from_numpy(store.read(study)), lut, size).numpy()
            for study in study_ids
        }

    def read(self, study_id: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Give ``(stop - start, h, w)`` float32 network input."""
        return self._slices[study_id][start:stop]


def read_window(
    reader: SliceReader, study_id: str, slices: int, centre: int, window: int, air: float = AIR_HU
) -> np.ndarray:
    """A window of neighbouring slices, air where it leaves the study.

    Args:
        reader: Prepared volumes, or slices that were looked up before.
        study_id: The study.
        slices: Its number of slices.
        centre: Slice number in the middle.
        window: Number of slices, odd.
        air: What stands beyond the ends.

    Returns:
        ``(window, H, W)``, int16 HU from a store.
    """
    first, last = centre - window // 2, centre + window // 2 + 1
    inside = reader.read(study_id, max(first, 0), min(last, slices))
    before, after = max(-first, 0), max(last - slices, 0)
    if not before and not after:
        return inside
    return np.pad(inside, ((before, after), (0, 0), (0, 0)), constant_values=air)


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


class WindowDataset(Dataset[tuple[Tensor, Tensor, int]]):
    """Windows round given slices: ``(window, H, W)``, ``(6,)`` float32 labels, sample number."""

    def __init__(
        self,
        reader: SliceReader,
        table: SliceTable,
        samples: np.ndarray,
        window: int,
        air: float = AIR_HU,
    ) -> None:
        self.reader, self.table, self.samples = reader, table, samples
        self.window, self.air = window, air

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor, int]:
        sample = int(self.samples[position])
        table = self.table
        hu = read_window(
            self.reader,
            table.study_ids[sample],
            int(table.study_slices[sample]),
            int(table.slice_nums[sample]),
            self.window,
            self.air,
        )
        return torch.from_numpy(hu), torch.from_numpy(table.labels[sample]), sample


class StudyDataset(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Whole studies: ``(S, H, W)`` int16, slice numbers ``(n,)`` and labels ``(n, 6)``."""

    def __init__(self, store: VolumeStore, table: SliceTable) -> None:
        self.store, self.table = store, table
        rows = pd.Series(range(len(table))).groupby(np.array(table.study_ids, dtype=object))
        self.rows = {str(study): group.to_numpy() for study, group in rows}
        self.studies = list(self.rows)

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


class FoldData(L.LightningDataModule):
    """Batches of one unit of a phase, and the validation fold study by study.

    Args:
        store: Prepared volumes.
        train: Slices of the other folds.
        validation: Slices of this fold.
        units: The phase's plan.
        seed: Identifies the training and the phase.
        window: Slices of a sample outside the single-slice epochs.
        single_window: Slices of a sample in them.
        workers: Processes that read; 0 for none.
        reduced: Training slices that were looked up before; ``None`` reads them as HU.
        air: Network input of air, for ``reduced``.
    """

    def __init__(
        self,
        store: VolumeStore,
        train: SliceTable,
        validation: SliceTable,
        *,
        units: list[Unit],
        seed: tuple[int, ...],
        window: int,
        single_window: int,
        workers: int,
        reduced: ReducedSlices | None = None,
        air: float = AIR_HU,
    ) -> None:
        super().__init__()
        self.reader: SliceReader = store if reduced is None else reduced
        self.air = AIR_HU if reduced is None else air
        self.store, self.train, self.validation = store, train, validation
        self.units, self.seed, self.workers = units, seed, workers
        self.window, self.single_window = window, single_window

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor, int]]:
        """Batches of the unit that Lightning is at (it asks anew for each)."""
        assert self.trainer is not None
        unit = self.units[min(self.trainer.current_epoch, len(self.units) - 1)]
        samples = unit_samples(unit, len(self.train), self.seed)
        window = self.single_window if unit.single_slice else self.window
        windows = WindowDataset(self.reader, self.train, samples, window, self.air)
        return self._loader(windows, unit.batch)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Tensor, Tensor]]:
        """One study a batch."""
        return self._loader(StudyDataset(self.store, self.validation), None)

    def _loader(self, dataset: Dataset, batch: int | None) -> DataLoader:
        return DataLoader(
            dataset,
            batch_size=batch,
            shuffle=False,
            num_workers=self.workers,
            multiprocessing_context="spawn" if self.workers else None,
            pin_memory=torch.cuda.is_available(),
        )
