"""The whole run on phantoms: its results, and what a second run does."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import SHARED
from rsna19_kedro.contracts import CLASSES, KEYS, PREDICTIONS

from .conftest import PIPELINES, copy_finished, planned_nodes, run_session, saved_catalog

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

VALIDATIONS = {"resnet18_400": 3, "clf2Dc_resnet34_3c": 2, "clf2Dc_resnet34_3x3": 1}
"""Number of validations of each model during training in the test environment."""


def _table(project: Path, path: str) -> pd.DataFrame:
    return pd.read_parquet(project / "data" / path)


def test_prediction_tables_contain_their_slices_and_variants(finished_project: Path) -> None:
    folds = _table(finished_project, "03_primary/folds.parquet")
    test = _table(finished_project, "03_primary/test_slices.parquet")
    for model in VALIDATIONS:
        for fold in range(5):
            folder = f"07_model_output/{model}/fold_{fold}"
            for name, expected in (("oof", folds[folds.fold == fold]), ("test", test)):
                table = _table(finished_project, f"{folder}/{name}.parquet")
                assert set(table.sop_instance_uid) == set(expected.sop_instance_uid)
                assert len(table) == 2 * len(expected)
                assert not table.duplicated([*KEYS, "tta"]).any()
                assert table[list(PREDICTIONS)].dtypes.eq(np.float32).all()
                assert table[list(PREDICTIONS)].to_numpy().min() >= 0


def test_trained_models_have_a_history_and_no_resume_state(finished_project: Path) -> None:
    models = finished_project / "data" / "06_models"
    for model, validations in VALIDATIONS.items():
        history = pd.read_parquet(models / model / "fold_1" / "history.parquet")
        assert len(history) == validations
        assert {"train_loss", "val_loss", *(f"val_auc_{c}" for c in CLASSES)} <= {*history.columns}
        assert not list((models / model / "fold_1" / "resume").iterdir())
        assert list((models / model / "fold_1" / "tensorboard").glob("events.*"))


def test_descendant_starts_from_its_parents_encoder_of_the_same_fold(
    finished_project: Path,
) -> None:
    from rsna19_kedro.networks.checkpoint import Checkpoint

    def stem(model: str, fold: int):
        folder = finished_project / "data" / "06_models" / model / f"fold_{fold}"
        weights = Checkpoint.read(folder / "checkpoint.safetensors").weights
        return weights["encoder.conv1.weight"]

    # A few unfrozen steps change the encoder slightly; that of another fold differs much more.
    near = (stem("clf2Dc_resnet34_3x3", 1) - stem("clf2Dc_resnet34_3c", 1)).abs().max()
    far = (stem("clf2Dc_resnet34_3x3", 1) - stem("clf2Dc_resnet34_3c", 2)).abs().max()
    assert near < 0.2 * far


def test_submissions_are_in_kaggles_format(finished_project: Path) -> None:
    data = finished_project / "data"
    sample = pd.read_csv(data / "01_raw" / "stage_2_sample_submission.csv")
    for name in ("submission_average", "submission_stacked"):
        path = data / "07_model_output" / "submissions" / f"{name}.csv"
        text = path.read_text().splitlines()
        assert text[0] == "ID,Label"
        assert all(len(line.rsplit(".", 1)[1]) == 8 for line in text[1:])
        assert pd.read_csv(path).ID.tolist() == sample.ID.tolist()


def test_report_and_choice_are_written(finished_project: Path) -> None:
    data = finished_project / "data"
    page = (data / "08_reporting" / "report.html").read_text()
    assert "ResNet" in page or "resnet18" in page
    choice = json.loads((data / "06_models" / "level2_choice.json").read_text())
    assert choice["chosen"] in choice["losses"]


def test_every_section_of_the_report_names_tables_that_the_catalog_opens(
    finished_project: Path,
) -> None:
    folder = finished_project / "data" / "08_reporting"
    page = (folder / "report.html").read_text()
    sections = re.findall(r'<section id="(\w+)">(.*?)</section>', page, re.DOTALL)
    sources = {name: re.findall(r'class="dataset">(\w+)<', text) for name, text in sections}
    assert all(
        names for section, names in sources.items() if section not in ("versions", "terms")
    ), sources
    catalog = saved_catalog(finished_project)
    for name in {name for names in sources.values() for name in names}:
        assert len(catalog.load(name)) > 0, name
    # As an example, one number on the page equals that in the table.
    best = catalog.load("level2_scores")["loss"].min()
    assert f"{best:.4f}" in dict(sections)["second"]
    for target in re.findall(r'href="([^"#:]+)"', page):
        assert (folder / target).exists(), target


def test_shared_contracts_hold(finished_project: Path) -> None:
    checker = SHARED / "checks" / "contracts.py"
    if not checker.is_file():
        pytest.skip("the contract checker is not available next to this checkout")
    result = subprocess.run(
        [sys.executable, checker, finished_project / "data"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "all contracts hold" in result.stdout


def test_nothing_is_missing_after_a_run(finished_project: Path) -> None:
    assert planned_nodes(finished_project, only_missing_outputs=True) == set()


def test_a_missing_table_is_made_again_and_downstream_nodes_only_if_it_differs(
    project_copy: Path,
) -> None:
    oof = project_copy / "data" / "07_model_output" / "resnet18_400" / "fold_2" / "oof.parquet"
    before = pd.read_parquet(oof)
    report = project_copy / "data" / "08_reporting" / "report.html"
    other = oof.parents[1] / "fold_1" / "oof.parquet"
    times = {path: path.stat().st_mtime_ns for path in (report, other)}
    oof.unlink()
    nodes = planned_nodes(
        copy_finished(project_copy, project_copy.parent / "dry"), only_missing_outputs=True
    )
    assert "resnet18_400.fold_2.predict_oof" in nodes
    assert any(name.startswith("stacking.") for name in nodes)
    assert "reporting.compose_report" in nodes
    assert not any("train" in name or "fold_1" in name for name in nodes)
    assert "prepare_volumes" not in nodes
    run_session(project_copy, only_missing_outputs=True)
    pd.testing.assert_frame_equal(pd.read_parquet(oof), before)
    # The same table again: downstream results are up to date.
    assert report.stat().st_mtime_ns == times[report]
    assert other.stat().st_mtime_ns == times[other]


def test_nothing_is_removed_before_its_replacement_is_written(project_copy: Path) -> None:
    data = project_copy / "data"
    before = {path for path in data.rglob("*") if path.is_file()}
    oof = data / "07_model_output" / "resnet18_400" / "fold_2" / "oof.parquet"
    oof.unlink()
    first = planned_nodes(project_copy, only_missing_outputs=True)  # Stopped before its first node.
    assert before - {path for path in data.rglob("*") if path.is_file()} == {oof}
    assert planned_nodes(project_copy, only_missing_outputs=True) == first


def _registered(project: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Names of the nodes of every registered pipeline."""
    from rsna19_kedro.pipeline_registry import register_pipelines

    monkeypatch.chdir(project)
    monkeypatch.setenv("KEDRO_ENV", "test")
    return {
        name: {node.name for node in pipeline.nodes}
        for name, pipeline in register_pipelines().items()
    }


@pytest.mark.parametrize("name", PIPELINES)
def test_every_pipeline_runs_alone(
    build: tuple[Path, dict[str, list[str]]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The finished project was made pipeline by pipeline, and all their nodes ran."""
    project, ran = build
    assert set(ran[name]) == _registered(project, monkeypatch)[name]


def test_every_registered_pipeline_is_tested_here(
    build: tuple[Path, dict[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    project, ran = build
    registered = _registered(project, monkeypatch)
    assert set(registered) == {*PIPELINES, "new_study", "__default__"}
    assert registered["__default__"] == {node for nodes in ran.values() for node in nodes}


def test_pipelines_run_again_on_their_own_results(project_copy: Path) -> None:
    def tables() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in project_copy.glob("data/0[23]*/*.parquet")}

    before = tables()
    again = ["phantoms", "ingestion", "volume_prep", "folds"]
    run_session(project_copy, pipeline_names=again)
    assert len(before) > 6
    assert tables() == before
