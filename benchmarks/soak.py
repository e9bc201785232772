"""Many predictions of new studies: memory, open files and temporary files.

Usage:  python benchmarks/soak.py PROJECT SOURCE [--runs 200] [--terminals 4] [--each 10]

PROJECT is a folder with trained models, SOURCE a small study. First RUNS sessions one after
another in this process, then TERMINALS parallel processes with EACH sessions. Linux only. Prints
after every tenth of the runs: resident memory in MB, open files, and entries of the temporary
folder. The numbers after the first tenth, when libraries are loaded, and at the end should agree.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from rsna19_kedro.runners import GPURunner


def predict(source: Path, env: str, name: str) -> None:
    """Run one session of ``new_study`` in this process."""
    params = {"source": str(source), "output": name}
    with KedroSession.create(project_path=Path.cwd(), env=env, runtime_params=params) as session:
        assert isinstance(session, KedroSession)
        session.run(pipeline_names=["new_study"], runner=GPURunner())


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def soak(options: argparse.Namespace, runs: int, name: str) -> None:
    """Run sessions one after another; print numbers after every tenth."""
    os.chdir(options.project)
    bootstrap_project(Path.cwd())
    for number in range(1, runs + 1):
        start = time.monotonic()
        predict(options.source, options.env, f"{name}_{number % 5}")
        if number % max(runs // 10, 1) == 0:
            figures = (
                f"{_resident_mb():6.0f} MB",
                f"{len(os.listdir('/proc/self/fd')):4} files open",
                f"{len(os.listdir(tempfile.gettempdir())):4} temporary",
                f"{threading.active_count():3} threads",
                f"{time.monotonic() - start:5.1f} s",
            )
            print(f"{name} {number:4}", *figures, flush=True)


def main() -> None:
    """Run in one process, then in several."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("source", type=Path)
    parser.add_argument("--env", default="test")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--terminals", type=int, default=4)
    parser.add_argument("--each", type=int, default=10)
    parser.add_argument("--name", default="soak")
    options = parser.parse_args()
    options.project, options.source = options.project.resolve(), options.source.resolve()
    soak(options, options.runs, options.name)
    given = [str(options.project), str(options.source), "--env", options.env]
    several = [
        subprocess.Popen(
            [
                *(sys.executable, __file__, *given, "--runs", str(options.each)),
                *("--terminals", "0", "--name", f"terminal_{number}"),
            ]
        )
        for number in range(options.terminals)
    ]
    sys.exit(max((process.wait() for process in several), default=0))


if __name__ == "__main__":
    main()
