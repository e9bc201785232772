"""Batches read ahead by threads.

Threads need no shared memory, pickling or start-up time, and decompression releases the
interpreter lock. ``benchmarks/readers.py`` compares them with processes.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from rsna19_kedro.parallel import available_cores, prefetch
from rsna19_kedro.training.plan import Unit
from rsna19_kedro.training.samples import Batch, FoldSlices, SampleReader

_MAX_READERS = 4


def reader_threads(wanted: int | None, devices: int, *, gpu: bool) -> int:
    """Number of reading threads per device.

    Args:
        wanted: Number in the parameters; ``None`` to choose automatically.
        devices: Devices that share the machine.
        gpu: Whether the network runs on a GPU; on a CPU one thread is enough.
    """
    if wanted is not None:
        return wanted
    return min(_MAX_READERS, max(1, available_cores() // devices - 1)) if gpu else 1


def unit_batches(
    reader: SampleReader,
    unit: Unit,
    seed: tuple[int, ...],
    device: torch.device,
    threads: int,
    share: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Yield this device's part of every batch of a unit, on the device.

    Args:
        reader: Reads samples.
        unit: A unit of the plan.
        seed: Identifies training and phase.
        device: Device of the batches.
        threads: Threads that read ahead; 0 reads each batch on demand.
        share: Rank of the device, and number of devices.
    """
    samples = reader.samples(unit, seed)
    rank, world = share
    rows = np.arange(len(samples.studies)).reshape(-1, unit.batch)[:, rank::world]

    def read(number: int) -> Batch:
        batch = reader.read(samples, rows[number])
        return batch.pinned() if device.type == "cuda" else batch

    for batch in prefetch(read, range(len(rows)), threads):
        yield batch.to(device)


def validation_studies(
    fold: FoldSlices, device: torch.device, threads: int, share: tuple[int, int] = (0, 1)
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield this device's part of the validation studies.

    Yields:
        ``(S, H, W)`` int16 on the device; labelled slice numbers ``(n,)`` and their labels
        ``(n, 6)`` on the CPU.
    """
    table = fold.validation
    ends = np.searchsorted(table.studies, np.arange(len(table.study_ids)), side="right")

    def read(study: int) -> tuple[Tensor, Tensor, Tensor]:
        rows = slice(0 if study == 0 else int(ends[study - 1]), int(ends[study]))
        hu = torch.from_numpy(fold.store.read(table.study_ids[study]))
        hu = hu.pin_memory() if device.type == "cuda" else hu
        return hu, torch.from_numpy(table.slice_nums[rows]), torch.from_numpy(table.labels[rows])

    for hu, numbers, labels in prefetch(read, range(share[0], len(ends), share[1]), threads):
        yield hu.to(device, non_blocking=True), numbers, labels
