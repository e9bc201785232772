"""When Ray is used, and the messages if it cannot be."""

import subprocess
import sys
from pathlib import Path

import pytest
from kedro.pipeline import Pipeline

from rsna19_kedro.errors import InputError
from rsna19_kedro.runners import GPURunner, machine
from rsna19_kedro.runners.machine import RunnerOptions, check_reachable, choose_mode, local_slots
from toy_graphs import toy, toy_catalog


class Hooks:
    """Hooks that accept every call."""

    def __getattr__(self, _: str) -> object:
        return lambda **__: None

    @property
    def hook(self) -> "Hooks":
        return self


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)


def _set_gpus(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(machine, "visible_gpus", lambda: number)


@pytest.mark.parametrize("given", [{"gpus": 2}, {"cpus": 2}, {"address": "auto"}])
@pytest.mark.usefixtures("without_ray")
def test_requested_but_not_installed(given: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"needs Ray, which is not installed.*\.\[cluster\]"):
        GPURunner(**given)  # type: ignore[arg-type]


@pytest.mark.usefixtures("without_ray")
def test_several_gpus_without_ray_run_in_sequence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _set_gpus(monkeypatch, 4)
    pipeline = Pipeline([toy("a", seconds=0)])

    caplog.set_level("INFO")
    GPURunner().run(pipeline, toy_catalog(tmp_path, pipeline), Hooks())
    message = "Running in sequence in this process (4 GPUs found, but Ray is not installed"
    assert message in caplog.text
    assert (tmp_path / "a.json").is_file()


@pytest.mark.usefixtures("without_ray")
def test_a_failure_in_sequence_says_how_to_resume(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise InputError("the disk is full")

    monkeypatch.setattr("sys.argv", ["/x/kedro", "run", "--env", "demo"])
    pipeline = Pipeline([toy("a", seconds=0), toy("b", "a", act=fail), toy("c", "b")])
    catalog = toy_catalog(tmp_path, pipeline)
    with pytest.raises(InputError, match="the disk is full"):
        GPURunner().run(pipeline, catalog, Hooks())
    assert "Failed: 1 of 3 nodes done. Fix the error, then resume with" in caplog.text
    assert "kedro run --env demo --only-missing-outputs" in caplog.text
    assert "--from-nodes" not in caplog.text


@pytest.mark.parametrize(
    ("given", "gpus", "ray"),
    [
        ({}, 0, False),
        ({}, 1, False),
        ({}, 2, True),
        ({"gpus": 1}, 4, False),
        ({"gpus": 1, "cpus": 2}, 1, True),
        ({"gpus": 0, "cpus": 2}, 4, True),
    ],
)
def test_ray_is_for_several_devices(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, int], gpus: int, ray: bool
) -> None:
    _set_gpus(monkeypatch, gpus)
    monkeypatch.setattr(machine, "ray_installed", lambda: True)
    assert choose_mode(RunnerOptions(**given))[0] is ray  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cpus": 0}, "cpus=0: expected an integer of at least 1"),
        ({"gpus": 0.5}, "gpus=0.5: expected an integer"),
        ({"memory": {"tpu": 4}}, "memory: tpu=4"),
        ({"gpus": 0}, "add cpus=2"),
    ],
)
def test_impossible_options(given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GPURunner(**given)  # type: ignore[arg-type]


def test_slots_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "available_cores", lambda: 32)
    _set_gpus(monkeypatch, 4)
    slots = local_slots(RunnerOptions())
    assert (slots.gpus, slots.cpus, slots.threads, slots.logical) == (4, 4, 4, False)
    with pytest.raises(InputError, match="gpus=8, but only 4 GPUs found"):
        local_slots(RunnerOptions(gpus=8))
    _set_gpus(monkeypatch, 0)
    assert local_slots(RunnerOptions(gpus=2)).logical
    assert str(local_slots(RunnerOptions(cpus=2))) == "2 CPU slots, 16 threads per worker"


@pytest.mark.parametrize("address", ["nonsense", "host:port"])
def test_addresses_have_a_port(address: str) -> None:
    with pytest.raises(InputError, match="expected host:port"):
        check_reachable(address)


def test_the_command_line_starts_without_ray_and_torch() -> None:
    code = "import sys, rsna19_kedro.cli; print({'ray', 'torch'} & set(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "set()"
