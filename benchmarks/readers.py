"""Designs of the reader of training samples: time to the first batch, and hidden reading time.

A consumer takes batches and is busy for some time with each: it sleeps (like a GPU, which needs no
CPU) or computes without releasing the interpreter lock. Designs: 0 (no prefetching), 1, 2 and 4
threads (``rsna19_kedro.parallel.prefetch``) with ``decompress2``, which releases the interpreter
lock; 0 and 2 threads with ``SChunk.decompress_chunk``, which holds it; 1 and 2 processes
(PyTorch's ``DataLoader``, spawn), whose start counts as time to the first batch.

Run: ``python benchmarks/readers.py VOLUMES`` with a folder of prepared volumes.
"""

import argparse
import statistics
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
from torch.utils.data import DataLoader, Dataset

from rsna19_kedro.ct import volume_store
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.parallel import prefetch
from rsna19_kedro.training.samples import Batch, FoldSlices, SampleReader, Samples, SliceTable

REACH = 2


class Batches(Dataset[Batch]):
    """Batches of random windows, for threads and for PyTorch's processes."""

    def __init__(self, folder: Path, batches: int, batch: int) -> None:
        store = VolumeStore(folder)
        studies = store.study_ids()[:60]
        slices = np.array([store.shape(study)[0] for study in studies])
        zeros = np.zeros(len(studies), int)
        labels = np.zeros((len(studies), 6), np.float32)
        table = SliceTable(studies, slices, np.arange(len(studies)), zeros, labels)
        self.reader = SampleReader(FoldSlices(store, table, table), 2 * REACH + 1, 1, None)
        rng = np.random.default_rng(0)
        chosen = rng.integers(len(studies), size=batches * batch)
        centres = (rng.random(len(chosen)) * slices[chosen]).astype(int)
        self.samples, self.batch = Samples(chosen, centres, 1, REACH), batch

    def __len__(self) -> int:
        return len(self.samples.studies) // self.batch

    def __getitem__(self, number: int) -> Batch:
        rows = np.arange(number * self.batch, (number + 1) * self.batch)
        return self.reader.read(self.samples, rows)


def locked(frame: object, index: int, target: np.ndarray) -> None:
    """Decompress with the interpreter lock held."""
    frame.decompress_chunk(index, target)  # type: ignore[attr-defined]


def designs(data: Batches) -> Iterator[tuple[str, Iterable[Batch]]]:
    """Yield every design by name, newly started."""
    numbers = range(len(data))
    for threads in (0, 1, 2, 4):
        yield f"{threads} threads, lock released", prefetch(data.__getitem__, numbers, threads)
    for threads in (0, 2):
        with mock.patch.object(volume_store, "_decompress_slice", locked):
            yield f"{threads} threads, lock held", prefetch(data.__getitem__, numbers, threads)
    for processes in (1, 2):
        loader = DataLoader(
            data, batch_size=None, num_workers=processes, multiprocessing_context="spawn"
        )
        yield f"{processes} processes", loader


def consume(batches: Iterable[Batch], busy_s: float, *, sleeping: bool) -> tuple[float, float]:
    """Seconds to the first batch, and mean seconds of waiting for each later batch."""
    start = time.perf_counter()
    first, waits = 0.0, []
    for _ in batches:
        now = time.perf_counter()
        if first:
            waits.append(now - start)
        else:
            first = now - start
        if sleeping:
            time.sleep(busy_s)
        else:
            while time.perf_counter() - now < busy_s:
                pass
        start = time.perf_counter()
    return first, statistics.fmean(waits)


def main() -> None:
    """Print one row per design."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volumes", type=Path)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    data = Batches(options.volumes, options.batches, options.batch)
    start = time.perf_counter()
    for number in range(len(data)):
        data[number]
    read_s = (time.perf_counter() - start) / len(data)
    print(f"reading {options.batch} windows: {1000 * read_s:.1f} ms")
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for _ in range(options.repeats):
        for name, batches in designs(data):
            first, asleep = consume(batches, 1.5 * read_s, sleeping=True)
            rows.setdefault(name, []).append((first, asleep, 0.0))
        for name, batches in designs(data):
            _, computing = consume(batches, 1.5 * read_s, sleeping=False)
            rows[name][-1] = (*rows[name][-1][:2], computing)
    print("design                     first batch    hidden, sleeping    hidden, computing")
    for name, values in rows.items():
        first, asleep, computing = (
            statistics.median(column) for column in zip(*values, strict=True)
        )
        hidden = [100 * (1 - wait / read_s) for wait in (asleep, computing)]
        print(f"{name:26} {first:9.2f} s {hidden[0]:18.0f} % {hidden[1]:18.0f} %")


if __name__ == "__main__":
    main()
