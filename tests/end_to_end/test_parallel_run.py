"""Runs that are killed and resumed on Ray: same tables as an uninterrupted run."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from rsna19_kedro.networks.checkpoint import Checkpoint

from .conftest import run_command

pytest.importorskip("ray", reason="Ray is not installed (.[cluster])")
pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

MODELS = ("resnet18_400", "clf2Dc_resnet34_3c", "clf2Dc_resnet34_3x3")
"""The third starts from the second."""


def _start(project: Path, *arguments: str, **options: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "kedro", "run", "--env", "test", *arguments],
        cwd=project,
        env={**os.environ, "COLUMNS": "200"},
        **options,
    )


def _kill_when(project: Path, ready: Callable[[], bool]) -> None:
    """Start the run; kill it and its workers (SIGKILL) as soon as ``ready`` is true."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = _start(project, "--only-missing-outputs", start_new_session=True, **quiet)
    deadline = time.monotonic() + 300
    while not ready():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "nothing to kill within five minutes"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _assert_same_tables(project: Path, finished: Path) -> int:
    """Compare all tables byte by byte; return their number."""
    compared = 0
    for path in sorted((finished / "data").rglob("*")):
        # Hidden files are records, which contain times.
        if path.suffix in (".parquet", ".csv") and not path.name.startswith("."):
            other = project / path.relative_to(finished)
            assert other.read_bytes() == path.read_bytes(), path
            compared += 1
    return compared


def test_killed_in_volume_prep_and_in_training_and_finished_by_two_workers(
    project_copy: Path, finished_project: Path
) -> None:
    """All volumes, one fold of every model, second level and report are made again."""
    data = project_copy / "data"
    volumes = data / "03_primary" / "volumes"
    index = data / "03_primary" / "volume_index.parquet"
    removed = ("0[67]_*/*/fold_0/*", "0[67]_*/level2*", "07_model_output/submissions/*", "08_*/*")
    for path in (path for pattern in removed for path in data.glob(pattern)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for _ in range(5):  # On a fast machine the kill may come too late; then try again.
        shutil.rmtree(volumes, ignore_errors=True)
        index.unlink(missing_ok=True)
        _kill_when(project_copy, lambda: any(volumes.glob("[!.]*.b2")))
        if not index.exists():
            break
    # Files whose names begin with a dot were being written when the run was killed.
    done = {path: path.stat().st_mtime_ns for path in volumes.glob("[!.]*.b2")}
    assert done
    assert not index.exists()

    models = data / "06_models"
    _kill_when(project_copy, lambda: any(models.glob("*/*/resume/phase_0.ckpt")))
    assert {path: path.stat().st_mtime_ns for path in done} == done, "finished studies were redone"

    result = run_command(project_copy, "--only-missing-outputs", "--runner-params", "cpus=2")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "resumes in phase" in result.stdout
    assert "Running in parallel on Ray (cpus=2): 2 CPU slots, 1 thread per worker" in result.stdout
    assert "data/08_reporting/report.html" in result.stdout, "hooks around the run work"
    assert re.search(r"resnet18_400\.fold_\d\.train \| ", result.stdout), "logs name their node"
    assert "VR.UI" not in result.stdout
    assert (data / "02_intermediate" / "source.json").is_file()
    trained = set(re.findall(r"(\w+\.fold_\d)\.train \| ", result.stdout))
    assert trained <= {f"{model}.fold_0" for model in MODELS}, "others were made again"
    assert _assert_same_tables(project_copy, finished_project) > 60
    submissions = [*finished_project.glob("data/07_model_output/submissions/*.csv")]
    assert len(submissions) == 2
    table = pd.read_parquet(data / "08_reporting" / "schedule.parquet")
    assert table["outcome"].eq("done").all()
    assert 2 <= table["worker"].nunique() <= 4
    ends = table.set_index("node")["end"]
    starts = table.set_index("node")["start"]
    parent, child = (f"{model}.fold_0.train" for model in MODELS[1:])
    if parent in ends and child in starts:  # Not finished before the kill.
        assert ends[parent] <= starts[child]


def _workers(title: str) -> list[int]:
    pids = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(title.encode()):
                pids.append(int(path.parent.name))
        except OSError:
            continue
    return pids


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for the worker in /proc")
def test_two_logical_gpus_give_the_same_tables_and_a_killed_training_resumes(
    project_copy: Path, finished_project: Path, tmp_path: Path
) -> None:
    data = project_copy / "data"
    for path in data.glob("07_model_output/*/fold_0/*.parquet"):
        path.unlink()
    source = data / "02_intermediate" / "source.json"
    source.unlink()
    model = data / "06_models" / "resnet18_400" / "fold_0"
    before = (model / "checkpoint.safetensors").stat().st_mtime_ns
    log = tmp_path / "log.txt"
    with log.open("w") as output:
        process = _start(
            project_copy,
            *("--pipelines", "phantoms,ingestion,cnn_training,inference", "--params", "fold:0"),
            *("--runner-params", "gpus=2"),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + 300
        while not (model / "resume" / "phase_0.ckpt").is_file():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        (worker,) = _workers("ray::resnet18_400.fold_0.train")
        os.kill(worker, signal.SIGKILL)
        assert process.wait(timeout=600) == 0, log.read_text()
    text = log.read_text()
    assert "2 logical GPUs" in text
    assert "worker died" in text
    assert "resumes in phase" in text
    assert "VR.UI" not in text
    assert source.is_file(), "node hooks of the main process are called"
    assert (model / "checkpoint.safetensors").stat().st_mtime_ns > before
    original = finished_project / model.relative_to(project_copy)
    ours, theirs = (
        Checkpoint.read(folder / "checkpoint.safetensors").weights for folder in (model, original)
    )
    assert all(ours[name].equal(value) for name, value in theirs.items())
    assert _assert_same_tables(project_copy, finished_project) > 60
    table = pd.read_parquet(data / "08_reporting" / "schedule.parquet").set_index("node")
    trained = table[table.index.str.contains("fold_0")]
    assert set(trained["device"]) == {"gpu 0", "gpu 1"}
    assert table["retries"].sum() == table.loc["resnet18_400.fold_0.train", "retries"] == 1
