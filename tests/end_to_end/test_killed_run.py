"""A run that is killed twice ends with the tables of an undisturbed one."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from .conftest import run_command

pytestmark = pytest.mark.end_to_end


def _kill_when(project: Path, ready: Callable[[], bool]) -> None:
    """Start the run, SIGKILL it and its workers as soon as something is there."""
    process = subprocess.Popen(
        [sys.executable, "-m", "kedro", "run", "--env", "test", "--only-missing-outputs"],
        cwd=project,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not ready():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "nothing to kill within five minutes"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_killed_in_volume_prep_and_in_training(empty_project: Path, finished_project: Path) -> None:
    data = empty_project / "data"
    volumes = data / "03_primary" / "volumes"
    index = data / "03_primary" / "volume_index.parquet"
    for _ in range(5):  # On a fast machine the kill may come too late: then begin again.
        shutil.rmtree(volumes, ignore_errors=True)
        index.unlink(missing_ok=True)
        _kill_when(empty_project, lambda: any(volumes.glob("[!.]*.b2")))
        if not index.exists():
            break
    # Files whose names begin with a dot are parts: what was in flight when the run was killed.
    done = {path: path.stat().st_mtime_ns for path in volumes.glob("[!.]*.b2")}
    assert done
    assert not index.exists()

    models = data / "06_models"
    _kill_when(empty_project, lambda: any(models.glob("resnet18_400/*/resume/phase_0.ckpt")))
    assert {path: path.stat().st_mtime_ns for path in done} == done, "finished studies were redone"

    result = run_command(empty_project, "--only-missing-outputs")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "goes on from phase" in result.stdout

    for path in sorted(finished_project.glob("data/07_model_output/**/*.parquet")):
        again = pd.read_parquet(empty_project / path.relative_to(finished_project))
        pd.testing.assert_frame_equal(again, pd.read_parquet(path))
    for path in finished_project.glob("data/07_model_output/submissions/*.csv"):
        assert (
            empty_project / path.relative_to(finished_project)
        ).read_bytes() == path.read_bytes()
