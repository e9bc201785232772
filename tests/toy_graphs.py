"""Pipelines of nodes that only sleep and note where they ran, with a catalog of JSON files."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro_datasets.json import JSONDataset


def toy(
    name: str,
    *inputs: str,
    seconds: float = 0.2,
    gpu: bool = False,
    act: Callable[[], None] | None = None,
) -> Node:
    """A node that calls ``act``, sleeps, and outputs its times and devices."""

    def work(*_: Any) -> dict[str, Any]:
        note = {
            "start": time.time(),
            "cuda": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "pid": os.getpid(),
        }
        if act is not None:
            act()
        time.sleep(seconds)
        return {**note, "end": time.time()}

    return Node(work, list(inputs) or None, name, name=f"make_{name}", tags={"gpu"} if gpu else ())


def meet(folder: Path, number: int) -> Callable[[], None]:
    """An ``act`` that waits until ``number`` nodes have started it: workers start slowly."""

    def wait() -> None:
        (folder / f"met_{os.getpid()}").touch()
        deadline = time.monotonic() + 60
        while len(list(folder.glob("met_*"))) < number and time.monotonic() < deadline:
            time.sleep(0.02)

    return wait


def toy_catalog(folder: Path, pipeline: Pipeline, runner: dict[str, Any] | None = None) -> Any:
    """A catalog with a file in the folder for every dataset and for the schedule."""
    datasets: dict[str, Any] = {
        name: JSONDataset(filepath=str(folder / f"{name}.json")) for name in pipeline.datasets()
    }
    from kedro_datasets.pandas import ParquetDataset

    from rsna19_kedro.datasets.timeline import TimelineDataset

    datasets["schedule"] = ParquetDataset(filepath=str(folder / "schedule.parquet"))
    datasets["schedule_figure"] = TimelineDataset(filepath=str(folder / "schedule.png"))
    if runner is not None:
        datasets["params:runner"] = MemoryDataset(runner)
    return DataCatalog(datasets=datasets)


def notes(folder: Path) -> dict[str, dict[str, Any]]:
    """Notes of the nodes, by dataset."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("[!.]*.json"))}


def most_at_once(times: list[dict[str, Any]], weight: float = 1.0) -> float:
    """Largest number of intervals that overlap, times a weight."""
    edges = [(note["start"], weight) for note in times] + [(note["end"], -weight) for note in times]
    now = most = 0.0
    for _, change in sorted(edges):
        now += change
        most = max(most, now)
    return most
