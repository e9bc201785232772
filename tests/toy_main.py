"""A run of its own process, for tests that kill it: ``python toy_main.py FOLDER [--missing]``.

Two nodes of a second, two of four seconds that start a process of their own, two at a time, and
one behind them all.
"""

import logging
import signal
import subprocess
import sys
from pathlib import Path

from kedro.pipeline import Pipeline

from rsna19_kedro.runners import GPURunner
from toy_graphs import toy, toy_catalog


def start_helper() -> None:
    """Like a loader process."""
    subprocess.Popen(["sleep", "60"])


if __name__ == "__main__":
    # A shell switches Ctrl-C off for what it starts in the background, tests and all.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder = Path(sys.argv[1])
    again = "--missing" in sys.argv
    long = 0.1 if again else 4.0
    pipeline = Pipeline(
        [
            toy("a", seconds=1),
            toy("b", seconds=1),
            toy("c", seconds=long, act=start_helper),
            toy("d", seconds=long, act=start_helper),
            toy("end", "a", "b", "c", "d"),
        ]
    )
    catalog = toy_catalog(folder, pipeline)
    GPURunner(cpus=2).run(pipeline, catalog, only_missing_outputs=again)
