"""Mistakes on the command line: a short message with a remedy, no traceback, status not 0."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from rsna19_kedro.cli_results import rsna19

from .conftest import run_here

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

_LINES = 4


def _message(project: Path, *arguments: str) -> str:
    """The error message of a run that fails, on one line."""
    result = run_here(project, *arguments)
    assert result.returncode != 0
    assert "Traceback" not in result.stdout
    assert result.stdout.count("Error") == 1, result.stdout
    message = result.stdout[result.stdout.index("Error") :]
    assert len(message.splitlines()) <= _LINES, message
    return " ".join(message.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "--pipelines stackin",
            "Unknown pipeline 'stackin'. Did you mean 'stacking'? The pipelines are: cnn_training,",
        ),
        ("--pipelines nothing", "The pipelines are: cnn_training,"),
        ("--pipeline stackin", "Unknown pipeline 'stackin'. Did you mean 'stacking'?"),
        (
            "--env tset",
            "Unknown environment 'tset'. Did you mean 'test'? The environments are: base, demo,",
        ),
        (
            "--nodes stacking.judge_candidate",
            "Unknown node 'stacking.judge_candidate'. Did you mean 'stacking.judge_candidates'?",
        ),
        ("--from-nodes index_slice", "Unknown node 'index_slice'. Did you mean 'index_slices'?"),
        ("--to-nodes nothing", "Unknown node 'nothing'. To list the nodes: kedro registry"),
        (
            "--pipelines folds --nodes index_slices",
            "The node 'index_slices' is not in the pipeline folds. Add --pipelines ingestion.",
        ),
        ("--tags trainin", "Unknown tag 'trainin'. Did you mean 'training'? The tags are: fold_0,"),
        ("--tags gpu --nodes index_slices", "No node is selected by all of these options: --nodes"),
        ("--namespaces stackin", "Unknown namespace 'stackin'. Did you mean 'stacking'? The names"),
        ("--from-inputs slice_indx", "Unknown dataset 'slice_indx'. Did you mean 'slice_index'?"),
        ("--to-outputs foldz", "Unknown dataset 'foldz'. Did you mean 'folds'?"),
        ("--load-versions foldz:2026", "Unknown dataset 'foldz'. Did you mean 'folds'?"),
        ("--runner GPURuner", "Unknown runner 'GPURuner'. Leave out --runner"),
        ("--runner-params cpu=2", "--runner-params: unknown key 'cpu'. Did you mean 'cpus'?"),
        ("--params models:resnet18", "Unknown model 'resnet18'. Did you mean 'resnet18_400'?"),
        ("--params fold:7", "Unknown fold '7': the folds are 0, 1, 2, 3, 4."),
        (
            "--params fodl:2",
            "Unknown parameter 'fodl' in --params. Did you mean 'fold'? All parameters are",
        ),
        (
            "--params xyzzy:2",
            "Unknown parameter 'xyzzy' in --params. Parameters: combine, detector,",
        ),
        (
            "--params folds.sede:3",
            "folds.sede: unknown key. Did you mean 'seed'? (given: 3) All parameters are",
        ),
        (
            "--params resnet18_400.phases.main.learning_rat:3",
            "main.learning_rat: unknown key. Did you mean 'learning_rate'? (given: 3)",
        ),
        ("--params raw_dir=nowhere", "nowhere"),
        ("--params models:", "No model given. The models are: resnet18_400,"),
        ("--params source=nowhere", "source is only used by new_study: add --pipelines new_study"),
        ("--params fast=true", "fast is only used by new_study: add --pipelines new_study"),
        ("--pipelines new_study", "Name what to predict: --params source=PATH"),
        (
            "--pipelines new_study --params source=conf,models=resnet18_400",
            "No requested model is trained in",
        ),
        (
            "--pipelines folds --params folds.seed:3",
            "slice_index.parquet is missing. An earlier node makes it: kedro run --env test "
            "--only-missing-outputs --params folds.seed=3",
        ),
        ("--pipelines stacking --params fold:1", "The pipeline 'stacking' needs all folds"),
    ],
)
def test_mistake_in_a_run(empty_project: Path, arguments: str, message: str) -> None:
    assert message in _message(empty_project, *arguments.split())
    made = [path for path in empty_project.glob("data/0*/**/*") if path.is_file()]
    assert not [path for path in made if not path.name.startswith(".")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("clean --model resnet18_40", "Unknown model 'resnet18_40'. Did you mean 'resnet18_400'?"),
        ("clean --model level2", "Unknown model 'level2'. The models are: resnet18_400,"),
        ("clean", "Choose what to remove: --resume, --model NAME, --out-of-date or --orphans."),
        ("status --env dmeo", "Unknown environment 'dmeo'. Did you mean 'demo'?"),
        ("status --env demo --params fodl:2", "Did you mean 'fold'?"),
    ],
)
def test_mistake_about_stored_results(
    empty_project: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, message: str
) -> None:
    monkeypatch.chdir(empty_project)
    result = CliRunner().invoke(rsna19, arguments.split())
    assert result.exit_code != 0
    assert isinstance(result.exception, SystemExit)  # No other exception escaped.
    assert message in result.output
    assert len(result.output.splitlines()) <= _LINES


def test_parameter_of_earlier_results(
    finished_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "Invalid parameters: stacking.windo: unknown key (given: 3) All parameters are"
    arguments = ("--pipelines", "reporting", "--params", "stacking.windo:3")
    assert text in _message(finished_project, *arguments)
    monkeypatch.chdir(finished_project)
    result = CliRunner().invoke(rsna19, ["status", "--env", "test", *arguments[2:]])
    assert result.exit_code == 1
    assert text in " ".join(result.output.split())


def test_missing_raw_data_do_not_remove_the_phantoms(project_copy: Path) -> None:
    report = project_copy / "data" / "08_reporting" / "report.html"
    message = _message(project_copy, "--params", "raw_dir=nowhere")
    assert "nowhere does not exist. Set the folder of your download" in message
    assert report.is_file()


def test_commands_name_environment_model_and_fold(project_copy: Path) -> None:
    models = project_copy / "data" / "06_models"
    (models / "resnet18_400" / "fold_3" / "checkpoint.safetensors").unlink()
    arguments = ("--pipelines", "inference", "--params", "models:resnet18_400,fold:3,seed:2026")
    message = _message(project_copy, *arguments)
    assert message.startswith("Error in resnet18_400.fold_3.predict_oof: There is no checkpoint")
    assert (
        "kedro run --env test --pipelines cnn_training --only-missing-outputs --params "
        "models=resnet18_400,fold=3,seed=2026" in message
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "text",
            "Error in prepare_source: Nothing in the source can be predicted (1 of 1 file: not "
            "DICOM). Expected axial CT slices of a head without contrast agent: DICOM files, a zip "
            "file of them, or a NIfTI file in HU.",
        ),
        ("nowhere", "/nowhere does not exist. Specify a folder, a DICOM file, a zip file or"),
    ],
)
@pytest.mark.parametrize("output", ["", ",output=mine"])
def test_new_study_that_fails_leaves_nothing(
    project_copy: Path, tmp_path: Path, source: str, message: str, output: str
) -> None:
    before = {path for path in project_copy.rglob("*") if "sessions" not in path.parts}
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "note.txt").write_text("no image")
    given = f"source={tmp_path / source}{output}"
    assert message in _message(project_copy, "--pipelines", "new_study", "--params", given)
    after = {path for path in project_copy.rglob("*") if "sessions" not in path.parts}
    assert not [path for path in after - before if not re.search(r"data/\.runs$", str(path))]
