"""Overhead of Ray: its start-up time, and the time of an empty node.

Runs a pipeline of empty nodes with ``GPURunner``, as ``kedro run --runner-params cpus=N`` does.
Start-up lasts until Ray is ready. The time per node is the average interval between the ends of
nodes, without the first ones, which wait for their worker processes.

Run: ``python benchmarks/ray_overhead.py [--nodes N] [--cpus N]``.
"""

import argparse
import logging
import re
import tempfile
from pathlib import Path

import pandas as pd
from kedro.io import DataCatalog
from kedro.pipeline import Node, Pipeline
from kedro_datasets.json import JSONDataset
from kedro_datasets.pandas import ParquetDataset

from rsna19_kedro.runners import GPURunner


def nothing() -> int:
    """Function of an empty node."""
    return 0


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def run_empty(nodes: int, cpus: int) -> tuple[float, float, float]:
    """Seconds until Ray is ready, milliseconds per node, and seconds of the whole run."""
    lines = _Lines()
    log = logging.getLogger("rsna19_kedro.runs")
    log.setLevel(logging.INFO)
    log.addHandler(lines)
    names = [f"empty{number}" for number in range(nodes)]
    with tempfile.TemporaryDirectory() as folder:
        datasets = {name: JSONDataset(filepath=f"{folder}/{name}.json") for name in names}
        datasets["schedule"] = ParquetDataset(filepath=f"{folder}/schedule.parquet")
        pipeline = Pipeline([Node(nothing, None, name, name=f"make_{name}") for name in names])
        GPURunner(cpus=cpus).run(pipeline, DataCatalog(datasets=datasets))
        table = pd.read_parquet(Path(folder) / "schedule.parquet").sort_values("end")
    ready = next(match for line in lines.lines if (match := re.search(r"after ([\d.]+) s", line)))
    log.removeHandler(lines)
    steady = table["end"].iloc[2 * cpus :]
    each = (steady.iloc[-1] - steady.iloc[0]).total_seconds() / (len(steady) - 1)
    whole = (table["end"].max() - table["start"].min()).total_seconds()
    return float(ready.group(1)), 1000 * each, whole


def main() -> None:
    """Print three repeats."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    for _ in range(options.repeats):
        start, each, whole = run_empty(options.nodes, options.cpus)
        print(
            f"start-up {start:.1f} s; {options.nodes} empty nodes on {options.cpus} workers: "
            f"{each:.1f} ms per node, {whole:.1f} s in total"
        )


if __name__ == "__main__":
    main()
