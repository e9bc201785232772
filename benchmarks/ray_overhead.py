"""What Ray costs: the time to start it, and the time of a node that does nothing.

A pipeline of empty nodes runs through ``GPURunner`` as it would by ``kedro run --runner-params
cpus=N``. The start lasts until Ray is ready; the time a node is what lies between the start of the
first and the end of the last node, in the schedule, over the number of nodes but the first ones
that wait for their worker processes.

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
    """An empty node's work."""
    return 0


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def run_empty(nodes: int, cpus: int) -> tuple[float, float, float]:
    """Seconds until Ray is ready, milliseconds a node, and seconds of the whole."""
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
    ready = next(found for line in lines.lines if (found := re.search(r"after ([\d.]+) s", line)))
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
            f"start {start:.1f} s; {options.nodes} empty nodes on {options.cpus} workers: "
            f"{each:.1f} ms each, {whole:.1f} s from the first to the last"
        )


if __name__ == "__main__":
    main()
