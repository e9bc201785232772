"""SIGTERM and Ctrl-C end a training at once, with their exit status and the command to resume."""

import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rsna19_kedro.networks.checkpoint import Checkpoint

from .conftest import run_here

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

MODEL = "resnet18_400"
TRAIN = ("--pipelines", "cnn_training", "--params", f"fold:0,models:{MODEL}")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_training_is_resumed_by_the_command_that_it_prints(
    project_copy: Path, finished_project: Path, number: signal.Signals, status: int
) -> None:
    folder = project_copy / "data" / "06_models" / MODEL / "fold_0"
    assert (folder / "checkpoint.safetensors").is_file(), "an older checkpoint exists"
    process = subprocess.Popen(
        [sys.executable, "-m", "kedro", "run", "--env", "test", *TRAIN],
        cwd=project_copy,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        # A shell that runs the tests in the background ignores SIGINT for all its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    deadline = time.monotonic() + 120
    while not (folder / "resume" / "phase_0.ckpt").is_file():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(random.random())  # A random moment.
    sent = time.monotonic()
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert time.monotonic() - sent < 10
    assert process.returncode == status, output
    assert "Stopped: 0 of 1 nodes done" in output
    command = re.search(r"Resume with:\s+(?:.* )?run (.*)", output)
    assert command is not None, output
    arguments = shlex.split(command[1])
    assert arguments[:2] == ["--env", "test"]
    assert "--from-nodes" in arguments, "--only-missing-outputs would keep the older checkpoint"

    resumed = run_here(project_copy, *arguments[2:])
    assert resumed.returncode == 0, resumed.stdout
    assert "resumes in phase" in resumed.stdout
    path = f"data/06_models/{MODEL}/fold_0/checkpoint.safetensors"
    theirs, ours = (
        Checkpoint.read(root / path).weights for root in (finished_project, project_copy)
    )
    assert all(ours[name].equal(value) for name, value in theirs.items())
