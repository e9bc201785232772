"""A run is killed while another one waits for it: the second must take over.

Usage:  python benchmarks/kills_while_waiting.py PROJECT [--rounds 20] [--seed 0]

PROJECT is a folder after ``kedro run --env test``; a copy of it is used. In each round the
checkpoint and predictions of one fold are removed, two runs that make them are started, and the
first is killed by SIGKILL at a random time. The second must end with status 0 and the same tables,
and leave no owner file, no unfinished file and no orphan. Prints one line per round; exit status 1
if a round fails.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from rsna19_kedro.runners.run_locks import other_runs

_FOLDER: Final = "resnet18_400/fold_0"
_TABLES: Final = ("06_models/{}/history.parquet", "07_model_output/{}/oof.parquet")
_COMMAND: Final = (
    *(sys.executable, "-m", "kedro", "run", "--env", "test", "--only-missing-outputs"),
    *("--pipelines", "cnn_training,inference", "--params", "fold:0,models:resnet18_400"),
)


def start(project: Path) -> subprocess.Popen[str]:
    """Start the run in a separate process group."""
    return subprocess.Popen(
        _COMMAND,
        cwd=project,
        env={**os.environ, "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def tables(project: Path) -> list[bytes]:
    """Content of the tables that both runs make."""
    return [(project / "data" / name.format(_FOLDER)).read_bytes() for name in _TABLES]


def leftovers(project: Path) -> list[str]:
    """Files that should be gone; ``other_runs`` removes those of killed runs."""
    other_runs(project)
    patterns = (".part-*", ".*.owner.json")
    return [str(path) for pattern in patterns for path in (project / "data").rglob(pattern)]


def orphans(project: Path) -> str:
    """Output of ``clean --orphans``."""
    command = [sys.executable, "-m", "kedro", "rsna19", "clean", "--env", "test", "--orphans"]
    run = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    return run.stdout.splitlines()[-1]


def kill_one(project: Path, after_s: float) -> tuple[bool, str]:
    """Kill the first of two runs; return whether the second waited, and its output."""
    for layer in ("06_models", "07_model_output"):
        shutil.rmtree(project / "data" / layer / _FOLDER)
    first = start(project)
    time.sleep(1)
    second = start(project)
    time.sleep(after_s)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    text, _ = second.communicate(timeout=600)
    if second.returncode:
        raise RuntimeError(f"The second run ended with {second.returncode}:\n{text}")
    return "waits for" in text, text


def main() -> None:
    """Print one line per round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=12.0, help="latest kill, in seconds")
    options = parser.parse_args()
    rng, failed = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        shutil.copytree(options.project, project)
        expected = tables(project)
        for number in range(options.rounds):
            after_s = rng.uniform(2, options.longest)
            waited, _ = kill_one(project, after_s)
            is_equal = tables(project) == expected and not leftovers(project)
            failed += not is_equal
            print(
                f"{number + 1:3}  killed after {after_s:4.1f} s, the second "
                f"{'waited' if waited else 'did not wait'}: {'equal' if is_equal else 'DIFFERENT'}",
                flush=True,
            )
        print(orphans(project))
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
