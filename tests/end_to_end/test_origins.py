"""Origins of results, ``kedro rsna19 clean``, and results accepted although out of date."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

import rsna19_kedro
from rsna19_kedro.cli_results import rsna19
from rsna19_kedro.errors import InputError

from .conftest import run_session

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]


def _clean(project: Path, *options: str) -> str:
    before = Path.cwd()
    os.chdir(project)
    try:
        run = CliRunner().invoke(rsna19, ["clean", "--env", "test", *options])
    finally:
        os.chdir(before)
    assert run.exit_code == 0, run.output
    return run.output


def test_origin_by_name(finished_project: Path) -> None:
    data = finished_project / "data"
    made = rsna19_kedro.origin("resnet18_400.fold_2.oof", data)
    assert made.identity.node == "resnet18_400.fold_2.predict_oof"
    assert "resnet18_400.fold_2.checkpoint" in made.identity.inputs
    assert made.identity.parameters["resnet18_400.variants"] == ["normal", "rot90"]
    with pytest.raises(InputError, match=r"Did you mean 'resnet18_400\.fold_2\.oof'"):
        rsna19_kedro.origin("resnet18_400.fold_2.off", data)


def test_report_and_card_show_origins(finished_project: Path) -> None:
    reporting = finished_project / "data" / "08_reporting"
    report, model_card = (reporting / name for name in ("report.html", "model_card.md"))
    assert "Origin of the results" in report.read_text()
    assert "| resnet18_400.fold_*.checkpoint (5) |" in model_card.read_text()
    assert "Out-of-date results" not in model_card.read_text()


def test_accepted_results_are_named_in_report_and_card(project_copy: Path) -> None:
    params = {"resnet18_400": {"dropout": 0.25}, "reuse": "stored"}
    run_session(project_copy, only_missing_outputs=True, runtime_params=params)
    reporting = project_copy / "data" / "08_reporting"
    words = "dropout 0.0 -&gt; 0.25"
    assert words in (reporting / "report.html").read_text()
    text = (reporting / "model_card.md").read_text()
    assert "resnet18_400.fold_*.checkpoint: resnet18_400.dropout 0.0 -> 0.25" in text
    run_session(project_copy, only_missing_outputs=True)  # The original parameters.
    assert words not in (reporting / "report.html").read_text()


def test_clean_lists_and_removes_orphans(project_copy: Path) -> None:
    data = project_copy / "data"
    assert "Nothing to remove." in _clean(project_copy, "--orphans")
    (data / "06_models" / "an_old_model").mkdir()
    (data / "07_model_output" / "notes.txt").write_text("mine")
    (data / "07_model_output" / "new_study" / "latest").mkdir(parents=True)
    (data / "03_primary" / "folds.parquet").unlink()
    listed = _clean(project_copy, "--orphans")
    assert "06_models/an_old_model" in listed
    assert "07_model_output/notes.txt" in listed
    assert "03_primary/.folds.parquet.origin.json" in listed
    assert "new_study" not in listed
    other = "models:clf2Dc_resnet34_3c"
    assert "06_models/resnet18_400" in _clean(project_copy, "--orphans", "--params", other)
    assert (data / "06_models" / "an_old_model").exists()
    _clean(project_copy, "--orphans", "--yes")
    assert not (data / "06_models" / "an_old_model").exists()
    assert (data / "06_models" / "resnet18_400" / "fold_0" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("option", ["--orphans", "--out-of-date"])
def test_clean_refuses_results_of_another_environment(
    finished_project: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.chdir(finished_project)
    run = CliRunner().invoke(rsna19, ["clean", option])
    assert run.exit_code == 1
    assert "data/ holds results of environment test; you asked about base." in run.output


def test_out_of_date_results_can_be_removed(project_copy: Path) -> None:
    options = ("--out-of-date", "--params", "reporting.calibration_bins:5")
    assert "08_reporting/figures/calibration.png" in _clean(project_copy, *options)
    _clean(project_copy, *options, "--yes")
    assert not (project_copy / "data/08_reporting/figures/calibration.png").exists()
    assert (project_copy / "data/08_reporting/figures/roc.png").exists()
