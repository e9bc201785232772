"""Toy pipelines on a local Ray, with logical GPUs."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from kedro.io import MemoryDataset
from kedro.pipeline import Pipeline

from rsna19_kedro.errors import InputError
from rsna19_kedro.runners import GPURunner
from rsna19_kedro.runners.machine import RunnerOptions
from toy_graphs import meet, most_at_once, notes, toy, toy_catalog

pytest.importorskip("ray", reason="Ray is not installed (.[cluster])")

pytestmark = pytest.mark.slow

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _logs(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Capture the log of the run; remove the logs that Ray keeps of workers that died."""
    caplog.set_level(logging.INFO, logger="rsna19_kedro")
    yield
    for folder in Path("/tmp").glob(f"rsna19-ray-{os.getpid()}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def test_two_gpus_and_a_cpu_slot_are_shared(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gpu_nodes = [f"g{number}" for number in range(6)]
    pipeline = Pipeline(
        [
            toy("root"),
            *(
                toy(name, "root", seconds=0.5, gpu=True, act=meet(tmp_path, 3))
                for name in gpu_nodes
            ),
            *(toy(f"c{n}", "root", seconds=1.3, act=meet(tmp_path, 3)) for n in range(3)),
            toy("end", *gpu_nodes),
        ]
    )
    GPURunner(gpus=2, cpus=1).run(pipeline, toy_catalog(tmp_path, pipeline))
    assert "on Ray (gpus=2): 2 logical GPUs, 1 CPU slot" in caplog.text
    noted = notes(tmp_path)
    on_gpu = [noted[name] for name in gpu_nodes]
    on_cpu = [noted[f"c{number}"] for number in range(3)]
    assert most_at_once(on_gpu) == 2
    assert most_at_once(on_cpu) == 1
    assert most_at_once(on_gpu + on_cpu) == 3, "CPU nodes run in parallel with GPU nodes"
    for gpu in ("0", "1"):
        assert most_at_once([note for note in on_gpu if note["cuda"] == gpu]) == 1
        assert sum(note["cuda"] == gpu for note in on_gpu) >= 2, "all GPUs are used"
    assert {note["cuda"] for note in [*on_cpu, noted["root"]]} == {""}
    # CUDA finds no GPU in a process that was started without one.
    assert {note["pid"] for note in on_gpu}.isdisjoint(note["pid"] for note in on_cpu)
    assert all(note["start"] >= noted["root"]["end"] for note in on_gpu + on_cpu)
    assert noted["end"]["start"] >= max(note["end"] for note in on_gpu)
    table = pd.read_parquet(tmp_path / "schedule.parquet").set_index("node")
    assert len(table) == 11
    assert table["outcome"].eq("done").all()
    assert set(table.loc[[f"make_{name}" for name in gpu_nodes], "device"]) == {"gpu 0", "gpu 1"}
    assert table["peak_mb"].between(20, 2000).all()
    assert (tmp_path / "schedule.png").stat().st_size > 5000


def test_small_nodes_share_a_gpu_and_a_node_whose_worker_dies_runs_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    marker = tmp_path / "died"

    def die_once() -> None:
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def print_a_line() -> None:
        logging.getLogger("rsna19_kedro.toys").info("a line of the [node]")

    halves = [f"half{number}" for number in range(4)]
    pipeline = Pipeline(
        [
            *(toy(name, seconds=0.6, gpu=True, act=meet(tmp_path, 2)) for name in halves),
            toy("whole", gpu=True, seconds=0.6, act=print_a_line),
            toy("mortal", act=die_once),
            toy("after", "mortal"),
        ]
    )
    catalog = toy_catalog(tmp_path, pipeline, {"gpus_per_node": {"make_half*": 0.5}})
    GPURunner(gpus=1, cpus=2, memory={"gpu": 0.1}).run(pipeline, catalog)
    noted = notes(tmp_path)
    assert most_at_once([noted[name] for name in halves]) == 2
    assert most_at_once([noted["whole"], *(noted[name] for name in halves)]) == 2
    assert all(
        noted["whole"]["end"] <= noted[name]["start"]
        or noted["whole"]["start"] >= noted[name]["end"]
        for name in halves
    )
    assert {noted[name]["cuda"] for name in [*halves, "whole"]} == {"0"}
    assert "make_mortal: worker died" in caplog.text
    assert "try 2 of 3" in caplog.text
    assert "make_whole | a line of the [node]" in caplog.text
    retries = pd.read_parquet(tmp_path / "schedule.parquet").set_index("node")["retries"]
    assert retries["make_mortal"] == 1
    assert retries.sum() == 1


def test_a_failure_skips_only_its_downstream_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise InputError("study 7 is odd\nsecond line")

    def crash() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    pipeline = Pipeline(
        [
            toy("bad", act=fail),
            toy("child", "bad"),
            toy("grandchild", "child", "good"),
            toy("good"),
            toy("better", "good"),
            toy("mortal", act=crash),
        ]
    )
    monkeypatch.setattr(sys, "argv", ["/venv/bin/kedro", "run", "--params", "models:a,b c"])
    with pytest.raises(InputError) as caught:
        GPURunner(cpus=2, max_retries=1).run(pipeline, toy_catalog(tmp_path, pipeline))
    text = str(caught.value)
    assert "2 of 6 nodes failed, 2 done, 2 skipped" in text
    assert "make_bad: study 7 is odd\n    second line" in text
    assert "make_mortal: worker died 2 times" in text
    assert "make_child, make_grandchild (downstream of make_bad)" in text
    assert "kedro run --params 'models:a,b c' --only-missing-outputs" in text
    assert set(notes(tmp_path)) == {"good", "better"}
    outcomes = pd.read_parquet(tmp_path / "schedule.parquet").set_index("node")["outcome"]
    assert outcomes["make_bad"] == "failed"
    assert outcomes["make_mortal"] == "killed"
    assert "Traceback" not in caplog.text, "errors that the user can fix have none"


def _start(folder: Path) -> tuple[subprocess.Popen[str], str]:
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        [sys.executable, str(TESTS / "toy_main.py"), str(folder)],
        env={**os.environ, "TOY_MARK": mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 60
    # The next two nodes, which the main process starts after the first two, start helpers.
    while len(notes_written(folder)) < 2 or sum("sleep" in line for line in _alive(mark, "")) < 2:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process, mark


def notes_written(folder: Path) -> list[Path]:
    return list(folder.glob("?.json"))


def _alive(mark: str, but: str) -> list[str]:
    """Command lines of the processes that inherited the mark."""
    commands = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in path.read_bytes():
                commands.append((path.parent / "cmdline").read_text().strip("\0"))
        except OSError:
            continue
    return [line for line in commands if line and not (but and but in line)]


def _wait_until_gone(mark: str, seconds: float, but: str = "") -> None:
    deadline = time.monotonic() + seconds
    while left := _alive(mark, but):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path) -> None:
    process, mark = _start(tmp_path)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=15)[0]
    assert process.returncode != 0, output
    _wait_until_gone(mark, 3)
    assert "Stopped: 2 of 5 nodes done" in output
    assert "only_missing_outputs=True" in output
    assert "AttributeError" not in output, "a runner without hooks"
    assert not list(tmp_path.glob(".part-*")), "nothing is half written"
    outcomes = pd.read_parquet(tmp_path / "schedule.parquet")["outcome"].tolist()
    assert sorted(outcomes) == ["done", "done", "killed", "killed"]


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc")
def test_a_killed_run_is_resumed(tmp_path: Path) -> None:
    process, mark = _start(tmp_path)
    process.kill()
    process.wait()
    # Two idle helper processes of Ray notice only later that their parent is gone.
    _wait_until_gone(mark, 10, but="Agent")
    before = {path: path.stat().st_mtime_ns for path in notes_written(tmp_path)}
    again = subprocess.run(
        [sys.executable, str(TESTS / "toy_main.py"), str(tmp_path), "--missing"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert set(notes(tmp_path)) == {"a", "b", "c", "d", "end"}
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())


def test_datasets_in_memory_are_refused_before_anything_runs(tmp_path: Path) -> None:
    pipeline = Pipeline([toy("first"), toy("second", "first"), toy("third", "second")])
    catalog = toy_catalog(tmp_path, pipeline)
    catalog["second"] = MemoryDataset()
    with pytest.raises(InputError, match=r"(?s)second \(made by make_second\).*second:\n  type:"):
        GPURunner(cpus=2).run(pipeline, catalog)
    assert not notes(tmp_path)


def test_nodes_that_could_never_start_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    from rsna19_kedro.runners.machine import Slots
    from rsna19_kedro.runners.ray_run import _check_slots
    from rsna19_kedro.runners.worker import NodeRun

    monkeypatch.setattr(ray, "cluster_resources", lambda: {"memory": 8 * 1024**3})
    needs = {
        "a.train": NodeRun("a.train", "training", gpus=2, cost=1),
        "report": NodeRun("report", "other", gpus=0, cost=1),
    }
    box = Slots(4, 1, 4)
    _check_slots(needs, box, RunnerOptions(memory=8))
    with pytest.raises(InputError, match=r"9 GB for a gpu node, but this machine has 8\.0 GB"):
        _check_slots(needs, box, RunnerOptions(memory={"gpu": 9}))
    with pytest.raises(InputError, match=r"a\.train needs 2 GPUs.*more than 1 for it"):
        _check_slots(needs, Slots(4, 1, 1, machines=2), RunnerOptions(address="a:1"))
    growing = RunnerOptions(address="a:1", gpus=4)
    _check_slots(needs, Slots(4, 1, 0, machines=2), growing)


def test_an_address_without_an_answer_fails_within_seconds(tmp_path: Path) -> None:
    pipeline = Pipeline([toy("first")])
    started = time.monotonic()
    with pytest.raises(InputError, match=r"address=127\.0\.0\.1:9: no answer"):
        GPURunner(address="127.0.0.1:9").run(pipeline, toy_catalog(tmp_path, pipeline))
    assert time.monotonic() - started < 8
