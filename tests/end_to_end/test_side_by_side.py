"""Two concurrent runs in one project."""

import os
from pathlib import Path

import pytest

from rsna19_kedro.networks.checkpoint import Checkpoint
from rsna19_kedro.provenance.plan import Plan, State
from rsna19_kedro.status import project_plan

from .conftest import run_at_once

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

ONE_FOLD = "fold:0,models:resnet18_400"
TRAIN = "resnet18_400.fold_0.train"


def _at_once(project: Path, first: tuple[str, ...], second: tuple[str, ...]) -> list[str]:
    """Run two commands in parallel; return their output, which must contain no traceback."""
    runs = run_at_once(project, first, second)
    for run in runs:
        assert run.returncode == 0, run.stdout
        assert "Traceback" not in run.stdout
    return [run.stdout for run in runs]


def _weights(project: Path) -> dict[str, bytes]:
    path = project / "data/06_models/resnet18_400/fold_0/checkpoint.safetensors"
    return {name: value.numpy().tobytes() for name, value in Checkpoint.read(path).weights.items()}


@pytest.mark.parametrize(
    ("runner", "kept"),
    [
        pytest.param((), f"{TRAIN}, unchanged", id="in sequence"),
        pytest.param(
            ("--runner-params", "cpus=2"),
            f"{TRAIN} | Using the results of the other run",
            marks=pytest.mark.exhaustive,
            id="on Ray",
        ),
    ],
)
def test_the_same_training_twice(project_copy: Path, runner: tuple[str, ...], kept: str) -> None:
    before = _weights(project_copy)
    command = ("--pipelines", "cnn_training", "--params", ONE_FOLD, *runner)
    texts = _at_once(project_copy, command, command)
    waiting = [text for text in texts if f"{TRAIN} waits for" in text]
    assert len(waiting) == 1
    assert kept in waiting[0]
    assert _weights(project_copy) == before


@pytest.mark.parametrize(
    "runner", [(), pytest.param(("--runner-params", "cpus=2"), marks=pytest.mark.exhaustive)]
)
def test_one_training_with_two_recipes(project_copy: Path, runner: tuple[str, ...]) -> None:
    """The second run waits, then replaces the results that do not match its recipe."""
    params = [ONE_FOLD, f"{ONE_FOLD},resnet18_400.dropout:0.25"]
    commands = [("--pipelines", "cnn_training", "--params", text, *runner) for text in params]
    texts = _at_once(project_copy, *commands)
    assert sum(f"{TRAIN} waits for" in text for text in texts) == 1
    last = next(k for k, text in enumerate(texts) if f"{TRAIN} waits for" in text)
    given = [{}, {"resnet18_400": {"dropout": 0.25}}]
    states = [_state(project_copy, changed) for changed in given]
    assert states[last] is State.UP_TO_DATE
    assert states[1 - last] is State.OUT_OF_DATE


def _state(project: Path, params: dict[str, object]) -> State:
    return next(node.state for node in _plan(project, params).nodes if node.node == TRAIN)


def _plan(project: Path, params: dict[str, object]) -> Plan:
    before = Path.cwd()
    os.chdir(project)
    try:
        return project_plan(project, "test", params)
    finally:
        os.chdir(before)


def test_one_preparation_twice(project_copy: Path) -> None:
    """Both remake in turn what is out of date: volumes, their index and the look-up table."""
    command = ("--pipelines", "volume_prep", "--params", "volume_prep.crop_size_px:100")
    _at_once(project_copy, command, command)
    plan = _plan(project_copy, {"volume_prep": {"crop_size_px": 100}})
    states = {node.node: node.state for node in plan.nodes}
    made = ("prepare_volumes", "fit_hu_lut", "draw_previews", "label_masks")
    assert {states[name] for name in made} == {State.UP_TO_DATE}


@pytest.mark.parametrize(
    "runner", [(), pytest.param(("--runner-params", "cpus=2"), marks=pytest.mark.exhaustive)]
)
def test_training_beside_new_study(project_copy: Path, runner: tuple[str, ...]) -> None:
    """The new study is predicted with all previous checkpoints, or waits for the new ones."""
    source = project_copy / "data" / "01_raw" / "stage_2_test"
    texts = _at_once(
        project_copy,
        ("--pipelines", "cnn_training", "--params", ONE_FOLD, *runner),
        ("--pipelines", "new_study", "--params", f"source:{source},output:beside", *runner),
    )
    assert "Results" in texts[1]
    assert list((project_copy / "data/07_model_output/new_study/beside").glob("*.parquet"))


@pytest.mark.exhaustive
def test_two_folds_on_ray(project_copy: Path) -> None:
    before = _weights(project_copy)
    command = ("--pipelines", "cnn_training", "--runner-params", "cpus=2")
    texts = _at_once(
        project_copy,
        (*command, "--params", "fold:0,models:resnet18_400"),
        (*command, "--params", "fold:1,models:resnet18_400"),
    )
    assert not any("waits for" in text for text in texts)
    assert _weights(project_copy) == before


@pytest.mark.exhaustive
def test_two_whole_runs(empty_project: Path, finished_project: Path) -> None:
    texts = _at_once(empty_project, (), ())
    assert any("Another run is active" in text for text in texts)
    assert sum("unchanged" in text for text in texts) >= 1
    for path in sorted(finished_project.glob("data/07_model_output/**/[!.]*.parquet")):
        assert (empty_project / path.relative_to(finished_project)).read_bytes() == (
            path.read_bytes()
        ), path
