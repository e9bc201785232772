"""A run in a separate process, for tests that kill it: ``python toy_main.py FOLDER [--missing]``.

Two nodes of one second, downstream of each a node of a minute that starts a child process, and one
downstream of them all; two nodes run in parallel.
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
    """Start a child process, as a data loader does."""
    subprocess.Popen(["sleep", "60"])


if __name__ == "__main__":
    # A shell that runs the tests in the background makes its children ignore SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder = Path(sys.argv[1])
    again = "--missing" in sys.argv
    long = 0.1 if again else 60.0
    pipeline = Pipeline(
        [
            toy("a", seconds=1),
            toy("b", seconds=1),
            toy("c", "a", seconds=long, act=start_helper),
            toy("d", "b", seconds=long, act=start_helper),
            toy("end", "a", "b", "c", "d"),
        ]
    )
    catalog = toy_catalog(folder, pipeline)
    GPURunner(cpus=2).run(pipeline, catalog, only_missing_outputs=again)
