"""The order of nodes, the summary of failures, and the devices that each node needs."""

from pathlib import Path

import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from recipes import base_recipe
from rsna19_kedro.errors import InputError
from rsna19_kedro.runners.needs import needs_of
from rsna19_kedro.runners.reuse import Reuse
from rsna19_kedro.runners.schedule import Schedule
from rsna19_kedro.runners.summary import failure_text, how_to_resume, resume_command
from rsna19_kedro.runners.work import Work
from rsna19_kedro.training.recipe import Recipe, TrainingSettings
from toy_graphs import toy, toy_catalog


@pytest.fixture
def schedule() -> Schedule:
    """A schedule with a short path, a-b, and a long one, c-d-e with costs 3, 1 and 5."""
    pipeline = Pipeline([toy("a"), toy("b", "a"), toy("c"), toy("d", "c"), toy("e", "d")])
    costs = {"make_a": 1, "make_b": 1, "make_c": 3, "make_d": 1, "make_e": 5}
    return Schedule(pipeline, costs)


def test_the_longest_path_goes_first(schedule: Schedule) -> None:
    assert schedule.priorities["make_c"] == 9
    assert schedule.priorities["make_a"] == 2
    assert schedule.ready == ("make_c", "make_a")
    schedule.start("make_c")
    schedule.finish("make_c")
    assert schedule.ready == ("make_d", "make_a")
    assert schedule.waiting == 4


def test_a_failure_skips_its_downstream_nodes_only(schedule: Schedule) -> None:
    schedule.start("make_c")
    schedule.fail("make_c", "boom")
    assert schedule.not_run == {"make_d": "make_c", "make_e": "make_c"}
    for name in ("make_a", "make_b"):
        schedule.start(name)
        schedule.finish(name)
    assert not schedule.active
    assert schedule.waiting == 0
    assert "1 of 5 nodes failed, 2 done, 2 skipped" in failure_text(schedule, "kedro run")


def test_smaller_nodes_do_not_delay_a_big_one_forever() -> None:
    pipeline = Pipeline([toy("big"), toy("small"), toy("other")])
    schedule = Schedule(pipeline, {"make_big": 9, "make_small": 1, "make_other": 1})
    kinds = {"make_big": "gpu", "make_small": "gpu", "make_other": "cpu"}
    started = schedule.startable(lambda name: name != "make_big", kinds.__getitem__)
    assert list(started) == ["make_other"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["/x/kedro", "run", "--env", "demo"], "kedro run --env demo --only-missing-outputs"),
        (
            ["/x/kedro/__main__.py", "run", "--only-missing-outputs"],
            "python -m kedro run --only-missing-outputs",
        ),
        (["pytest"], "the same run with only_missing_outputs=True (--only-missing-outputs)"),
    ],
)
def test_the_command_that_resumes(words: list[str], expected: str) -> None:
    assert resume_command(words) == expected


def test_resume_command_names_the_first_nodes_if_old_outputs_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["/x/kedro", "run", "--env", "demo"])
    pipeline = Pipeline([toy("a"), toy("b", "a"), toy("c"), toy("d", "b", "c"), toy("e")])
    catalog = toy_catalog(tmp_path, pipeline)
    left = {"make_b", "make_c", "make_d"}
    work = Work(pipeline, Reuse(catalog))
    catalog.save("d", {"made": "by an earlier run"})  # Downstream of what is missing.
    assert how_to_resume(work, left) == "kedro run --env demo --only-missing-outputs"
    for name in ("b", "c"):
        catalog.save(name, {"made": "by an earlier run"})
    command = how_to_resume(work, left)
    assert command.startswith("kedro run --env demo --from-nodes ")
    assert set(command.split()[-1].split(",")) == {"make_b", "make_c"}


def test_no_resume_command_if_only_a_check_is_left(tmp_path: Path) -> None:
    check = Node(len, "a", None, name="check")
    pipeline = Pipeline([toy("a"), check])
    work = Work(pipeline, Reuse(toy_catalog(tmp_path, pipeline)))
    assert how_to_resume(work, ["check"]) == ""


def _training(name: str, tags: set[str]) -> Node:
    def train(recipe: object, training: object) -> pd.DataFrame:
        return pd.DataFrame()

    inputs = {"recipe": f"params:{name}", "training": "params:training"}
    return Node(train, inputs, name, name=f"{name}.train", tags={"training", *tags})


def _catalog(devices: int = 1, runner: dict | None = None) -> DataCatalog:
    def short(epochs: int) -> Recipe:
        phases = {"main": {"learning_rate": 1, "epochs": epochs, "batch": 8}}
        return base_recipe("resnet18_400", phases=phases)

    values = {
        "params:short": short(1),
        "params:long": short(3),
        "params:training": TrainingSettings(devices=devices),
        "params:runner": runner or {},
    }
    return DataCatalog(datasets={name: MemoryDataset(value) for name, value in values.items()})


def test_cost_of_a_training_grows_with_epochs_and_it_takes_its_devices() -> None:
    nodes = [_training("short", {"gpu"}), _training("long", {"gpu"}), toy("rest")]
    needs = needs_of(nodes, _catalog(devices=2), gpus=True)
    assert needs["long.train"].cost > 2 * needs["short.train"].cost > needs["make_rest"].cost
    assert [needs[node.name].gpus for node in nodes] == [2, 2, 0]
    assert needs["long.train"].kind == "training"
    assert {need.gpus for need in needs_of(nodes, _catalog(), gpus=False).values()} == {0}


def test_patterns_give_shares_of_a_gpu() -> None:
    nodes = [_training("short", {"gpu"}), _training("long", {"gpu"})]
    runner = {"gpus_per_node": {"short.*": 0.25}}
    needs = needs_of(nodes, _catalog(runner=runner), gpus=True)
    assert [needs[node.name].gpus for node in nodes] == [0.25, 1]
    for bad in ({"gpus_per_node": {"*": 1.5}}, {"gpu_per_node": {}}):
        with pytest.raises(InputError, match=r"runner\.gpus?_per_node"):
            needs_of(nodes, _catalog(runner=bad), gpus=True)
