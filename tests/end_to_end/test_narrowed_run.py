"""Runs of selected folds and models, from Python and from the command line."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import DatasetError
from pydantic import BaseModel

from rsna19_kedro.errors import InputError
from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.training.recipe import Recipe

from .conftest import planned_nodes, run_command, run_here, run_session

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

TRAIN = ["cnn_training"]
MODELS = ("resnet18_400", "clf2Dc_resnet34_3c", "clf2Dc_resnet34_3x3")


@pytest.mark.parametrize("fold", [2, "2"])
def test_fold_trains_its_models_on_that_fold_only(finished_project: Path, fold: object) -> None:
    nodes = planned_nodes(finished_project, pipeline_names=TRAIN, runtime_params={"fold": fold})
    assert nodes == {f"{model}.fold_2.train" for model in MODELS}


def test_a_model_includes_its_ancestor_unless_that_is_trained(
    finished_project: Path, empty_project: Path
) -> None:
    given = {"fold": 2, "models": "clf2Dc_resnet34_3x3"}
    alone = planned_nodes(finished_project, pipeline_names=TRAIN, runtime_params=given)
    assert alone == {"clf2Dc_resnet34_3x3.fold_2.train"}
    both = planned_nodes(empty_project, pipeline_names=TRAIN, runtime_params=given)
    assert both == alone | {"clf2Dc_resnet34_3c.fold_2.train"}


@pytest.mark.parametrize("environment", ["base", "demo"])
def test_all_models_and_folds_are_in_the_graph_and_every_recipe_is_valid(
    empty_project: Path, monkeypatch: pytest.MonkeyPatch, environment: str
) -> None:
    monkeypatch.chdir(empty_project)
    bootstrap_project(empty_project)
    with KedroSession.create(
        project_path=empty_project, env=environment, runtime_params={"models": "all"}
    ) as session:
        params = session.load_context().params
        training = pipelines["cnn_training"]
    assert len(training.nodes) == 65
    for model in [name for name, spec in ZOO.items() if spec.reference]:
        assert isinstance(params[model], Recipe)
        assert params[model].parent == ZOO[model].starts_from


def test_base_includes_all_models_by_default(
    empty_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(empty_project)
    bootstrap_project(empty_project)
    with KedroSession.create(project_path=empty_project) as session:
        session.load_context()
        assert len(pipelines["cnn_training"].nodes) == 65


def test_each_session_of_a_process_has_its_own_scope(finished_project: Path) -> None:
    scopes = [{"fold": 2}, {"fold": 3, "models": "resnet18_400"}, None]
    counts = [
        planned_nodes(finished_project, pipeline_names=TRAIN, runtime_params=given)
        for given in scopes
    ]
    assert counts[1] == {"resnet18_400.fold_3.train"}
    assert [len(nodes) for nodes in counts] == [3, 1, 15]


def test_default_pipeline_of_one_fold_ends_with_its_prediction_tables(
    finished_project: Path,
) -> None:
    nodes = planned_nodes(finished_project, runtime_params={"fold": 0})
    assert "resnet18_400.fold_0.predict_test" in nodes
    assert not any(name.startswith(("stacking.", "reporting.")) for name in nodes)


@pytest.mark.parametrize("name", ["stacking", "reporting"])
def test_pipelines_that_need_all_folds_refuse_one(finished_project: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}' needs all folds"):
        run_session(finished_project, pipeline_names=[name], runtime_params={"fold": 0})


def test_raw_dir_removes_the_phantoms_from_the_graph(project_copy: Path) -> None:
    raw = {"raw_dir": str(project_copy / "data" / "01_raw")}
    nodes = planned_nodes(project_copy, runtime_params=raw)
    assert "generate_phantoms" not in nodes
    assert "index_slices" in nodes


def test_results_of_other_data_are_not_reused(project_copy: Path, tmp_path: Path) -> None:
    (tmp_path / "other" / "stage_2_train").mkdir(parents=True)
    (tmp_path / "other" / "stage_2_train" / "file").touch()
    other = {"raw_dir": str(tmp_path / "other")}
    with pytest.raises(InputError, match="data/ holds results of raw_dir data/01_raw"):
        planned_nodes(project_copy, runtime_params=other, only_missing_outputs=True)
    with pytest.raises(InputError, match="data/ holds results of raw_dir data/01_raw"):
        planned_nodes(project_copy, runtime_params=other, pipeline_names=["stacking"])
    checkpoint = project_copy / "data/06_models/resnet18_400/fold_2/checkpoint.safetensors"
    with pytest.raises(DatasetError, match="does not exist"):  # Then nothing is removed.
        planned_nodes(project_copy, runtime_params={"raw_dir": str(tmp_path / "another")})
    assert checkpoint.is_file()
    assert planned_nodes(project_copy, runtime_params=other)  # Removes results of phantoms.
    assert not checkpoint.exists()
    note = project_copy / "data" / "02_intermediate" / "source.json"
    note.write_text(note.read_text().replace("true", "false"))  # Results of real data are kept.
    with pytest.raises(InputError, match="data/ holds results of"):
        planned_nodes(project_copy, runtime_params=other)


def test_seed_reaches_every_parameter(finished_project: Path) -> None:
    bootstrap_project(finished_project)
    with KedroSession.create(
        project_path=finished_project, env="test", runtime_params={"seed": 7}
    ) as session:
        params = session.load_context().config_loader["parameters"]
    keys = ("phantoms", "folds", "stacking", "reporting", "resnet18_400", "clf2Dc_resnet34_3c")
    assert {params[key]["seed"] for key in keys} == {7}


def test_parameters_reach_nodes_typed(
    finished_project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bootstrap_project(finished_project)
    with KedroSession.create(project_path=finished_project, env="test") as session:
        params = session.load_context().params
    keys = (
        "phantoms",
        "ingestion",
        "volume_prep",
        "folds",
        "stacking",
        "reporting",
        "training",
        "resnet18_400",
    )
    assert all(isinstance(params[key], BaseModel) for key in keys)
    assert "Could not extract type hints" not in caplog.text


def test_command_line_accepts_fold_and_models(finished_project: Path) -> None:
    given = "fold:2,models:resnet18_400"
    result = run_command(
        finished_project, "--pipelines", "cnn_training", "--params", given, "--only-missing-outputs"
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("run", "arguments", "message"),
    [
        (run_command, ["--params", "fodl:2"], "Did you mean 'fold'?"),
        (run_here, ["--params", "fold:7"], "Unknown fold '7': the folds are 0, 1, 2, 3, 4."),
        (run_here, ["--params", "models:resnet"], "Unknown model 'resnet'"),
        (run_here, ["--params", "folds.sede=3"], "sede"),
        (run_here, ["--params", "resnet18_400.phases=3"], "phases"),
        (run_here, ["--params", "raw_dir=nowhere"], "does not exist"),
        (run_here, ["--pipelines", "stacking", "--params", "fold:1"], "needs all folds"),
    ],
)
def test_invalid_input_gives_a_message_without_a_traceback(
    empty_project: Path,
    run: Callable[..., CompletedProcess[str]],
    arguments: list[str],
    message: str,
) -> None:
    result = run(empty_project, *arguments)
    output = " ".join((result.stdout + result.stderr).split())
    assert result.returncode != 0
    assert message in output
    assert "Traceback" not in output


def test_a_pipeline_without_its_input_says_how_to_make_it(empty_project: Path) -> None:
    result = run_here(empty_project, "--pipelines", "folds")
    output = " ".join((result.stdout + result.stderr).split())
    assert result.returncode != 0
    assert "--only-missing-outputs" in output
    assert "Traceback" not in output
