"""The same run on Ray: same bytes, and a training whose worker is killed goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from rsna19_kedro.networks.checkpoint import Checkpoint

from .conftest import run_command

pytest.importorskip("ray", reason="Ray is not installed (.[cluster])")
pytestmark = pytest.mark.end_to_end

FOLD_0 = ("--pipelines", "cnn_training,inference", "--params", "fold:0")


def _assert_same_tables(project: Path, finished: Path, below: str = "") -> int:
    """Byte by byte, but for what depends on the time."""
    compared = 0
    for path in sorted((finished / "data" / below).rglob("*")):
        if path.suffix in (".parquet", ".csv") and path.is_file():
            other = project / path.relative_to(finished)
            assert other.read_bytes() == path.read_bytes(), path
            compared += 1
    return compared


def test_two_workers_make_the_tables_of_a_run_in_order(
    empty_project: Path, finished_project: Path
) -> None:
    result = run_command(empty_project, "--runner-params", "cpus=2")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "On Ray (cpus=2): 2 CPU slots, 1 thread a worker" in result.stdout
    assert "data/08_reporting/report.html" in result.stdout, "hooks around the run work"
    assert "clf2Dc_resnet34_3x3.fold_2.train | " in result.stdout, "logs name their node"
    assert "VR.UI" not in result.stdout
    assert (empty_project / "data" / "02_intermediate" / "source.json").is_file()
    assert _assert_same_tables(empty_project, finished_project) > 60
    table = pd.read_parquet(empty_project / "data" / "08_reporting" / "schedule.parquet")
    assert table["outcome"].eq("done").all()
    assert 2 <= table["worker"].nunique() <= 4
    ends = table.set_index("node")["end"]
    starts = table.set_index("node")["start"]
    for fold in range(5):
        parent, child = (f"clf2Dc_resnet34_{name}.fold_{fold}.train" for name in ("3c", "3x3"))
        assert ends[parent] <= starts[child]


def test_two_logical_gpus_make_them_too(project_copy: Path, finished_project: Path) -> None:
    for path in project_copy.glob("data/07_model_output/*/fold_0/*.parquet"):
        path.unlink()
    result = run_command(project_copy, *FOLD_0, "--runner-params", "gpus=2")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 logical GPUs" in result.stdout
    assert _assert_same_tables(project_copy, finished_project) > 60
    table = pd.read_parquet(project_copy / "data" / "08_reporting" / "schedule.parquet")
    assert set(table["device"]) == {"gpu 0", "gpu 1"}


def _workers(title: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(title.encode()):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for the worker in /proc")
def test_a_training_whose_worker_is_killed_goes_on(
    project_copy: Path, finished_project: Path, tmp_path: Path
) -> None:
    model = project_copy / "data" / "06_models" / "resnet18_400" / "fold_0"
    log = tmp_path / "log.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "kedro", "run", "--env", "test"),
                *("--pipelines", "cnn_training", "--params", "fold:0,models:resnet18_400"),
                *("--runner-params", "cpus=2"),
            ],
            cwd=project_copy,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "COLUMNS": "200"},
        )
        deadline = time.monotonic() + 120
        while not (model / "resume" / "phase_0.ckpt").is_file():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        (worker,) = _workers("ray::resnet18_400.fold_0.train")
        os.kill(worker, signal.SIGKILL)
        assert process.wait(timeout=120) == 0, log.read_text()
    assert "its worker died" in log.read_text()
    assert "goes on from phase_" in log.read_text()
    original = finished_project / model.relative_to(project_copy)
    ours, theirs = (
        Checkpoint.read(folder / "checkpoint.safetensors").weights for folder in (model, original)
    )
    assert all(ours[name].equal(value) for name, value in theirs.items())
    retries = pd.read_parquet(project_copy / "data" / "08_reporting" / "schedule.parquet")
    assert retries["retries"].tolist() == [1]
