"""Results that are out of date after a change, and the reasons; no node is run."""

import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from omegaconf import OmegaConf

from rsna19_kedro import version
from rsna19_kedro.pipelines.folds.nodes import split_patients
from rsna19_kedro.provenance.declare import declaration_of
from rsna19_kedro.provenance.plan import Plan, State
from rsna19_kedro.status import project_plan

from .conftest import run_session

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

RATE = {"resnet18_400": {"phases": {"main": {"learning_rate": 0.01}}}}
TRAIN = {f"resnet18_400.fold_{fold}.train" for fold in range(5)}
TRAIN_ALL = {
    f"{model}.fold_{fold}.train"
    for model in ("resnet18_400", "clf2Dc_resnet34_3c", "clf2Dc_resnet34_3x3")
    for fold in range(5)
}
PREDICT = {f"resnet18_400.fold_{k}.predict_{what}" for k in range(5) for what in ("oof", "test")}
PREDICT_ALL = {
    name.replace("train", f"predict_{what}") for name in TRAIN_ALL for what in ("oof", "test")
}


def _plan(project: Path, params: dict[str, Any] | None = None) -> Plan:
    before = Path.cwd()
    os.chdir(project)
    try:
        return project_plan(project, "test", params)
    finally:
        os.chdir(before)


def _out_of_date(project: Path, params: dict[str, Any] | None = None) -> dict[str, tuple[str, ...]]:
    plan = _plan(project, params)
    assert not plan.of(State.MISSING, State.UNKNOWN)
    return {node.node: node.causes for node in plan.of(State.OUT_OF_DATE)}


CHANGES: list[tuple[dict[str, Any], set[str], str]] = [
    (RATE, TRAIN, "learning_rate 0.001 -> 0.01"),
    ({"resnet18_400": {"dropout": 0.25}}, TRAIN, "dropout"),
    ({"resnet18_400": {"variants": ["normal"]}}, PREDICT, "variants"),
    ({"folds": {"seed": 7}}, {"split_patients"}, "folds.seed 2019 -> 7"),
    (
        {"volume_prep": {"hu_lut": {"kind": "equalise"}}},
        {"fit_hu_lut", "plot_hu_lut"},
        '"knots" -> "equalise"',
    ),
    ({"volume_prep": {"crop_size_px": 100}}, {"prepare_volumes", "label_masks"}, "108 -> 100"),
    ({"volume_prep": {"previews": {"studies": 2}}}, {"draw_previews"}, "previews.studies"),
    ({"volume_prep": {"masks": {"min_voxels": 8}}}, {"label_masks"}, "min_voxels 4 -> 8"),
    ({"training": {"precision": "bf16-mixed"}}, TRAIN_ALL, "training.precision"),
    ({"prediction": {"precision": "bf16-mixed"}}, PREDICT_ALL, "prediction.precision"),
    ({"stacking": {"clip_stacked": 1e-4}}, {"stacking.stacked_submission"}, "clip_stacked"),
    ({"stacking": {"clip_average": 1e-4}}, {"stacking.average_submission"}, "clip_average"),
    ({"stacking": {"resamples": 150}}, {"stacking.score_candidates"}, "100 -> 150"),
    ({"stacking": {"corrections": ["any"]}}, {"stacking.judge_candidates"}, "corrections"),
    (
        {"stacking": {"candidates": {"mlp": {"width": 9}}}},
        {
            *("stacking.judge_candidates", "stacking.score_candidates"),
            *("stacking.fit_final", "stacking.simplex_weights"),
        },
        "mlp.width 8 -> 9",
    ),
    ({"reporting": {"calibration_bins": 5}}, {"reporting.plot_calibration"}, "10 -> 5"),
    ({"reporting": {"worst_slices": 3}}, {"reporting.find_worst"}, "worst_slices 4 -> 3"),
    ({"reporting": {"studies_by_class": 2}}, {"reporting.rank_studies"}, "3 -> 2"),
    ({"phantoms": {"train_studies": 16}}, {"generate_phantoms"}, "15 -> 16"),
]


def test_parameters(finished_project: Path) -> None:
    """All changes at once: each node states its own changes and no others."""
    params = OmegaConf.to_container(OmegaConf.merge(*(change for change, _, _ in CHANGES)))
    outdated = _out_of_date(finished_project, params)
    assert set(outdated) == set().union(*(nodes for _, nodes, _ in CHANGES))
    for node, causes in outdated.items():
        expected = [cause for _, nodes, cause in CHANGES if node in nodes]
        assert len(causes) == len(expected), (node, causes)
        for cause in expected:
            assert any(cause in text for text in causes), (node, causes)


def test_models_that_are_no_longer_in_scope(finished_project: Path) -> None:
    outdated = _out_of_date(finished_project, {"models": "resnet18_400"})
    assert set(outdated) == {
        *("reporting.collect_histories", "stacking.collect_oof", "stacking.collect_test")
    }
    assert all("is no longer an input" in causes[0] for causes in outdated.values())


def test_parameters_and_verbosity_that_change_no_result(
    finished_project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    params = {
        "volume_prep": {"workers": 1},
        "stacking": {"workers": 1},
        "ingestion": {"workers": 1, "chunk_files": 7},
        "training": {"readers": 1, "accelerator": "cpu"},
        "prediction": {"batch_slices": 3, "part_studies": 5},
        "runner": {"gpus_per_node": {"*.train": 0.5}},
    }
    with caplog.at_level(logging.DEBUG, "rsna19_kedro"):  # Restores the level.
        assert _out_of_date(finished_project, params) == {}
    assert _out_of_date(finished_project, {"fold": 2}) == {}


def test_touched_and_moved_files_are_up_to_date(project_copy: Path, tmp_path: Path) -> None:
    for path in project_copy.glob("data/0[1-378]*/**/*"):
        if path.is_file() and not path.name.startswith("."):
            path.touch()
    assert _out_of_date(project_copy) == {}
    moved = tmp_path / "elsewhere"
    project_copy.rename(moved)
    assert _out_of_date(moved) == {}


def test_raw_files(project_copy: Path) -> None:
    raw = project_copy / "data" / "01_raw"
    images = sorted(raw.glob("stage_2_train/*.dcm"))
    first, last, csv = images[0], images[-1], raw / "stage_2_train.csv"
    content = bytearray(first.read_bytes())
    content[-1] ^= 1
    first.write_bytes(bytes(content))  # The same size as before.
    assert set(_out_of_date(project_copy)) == {"index_slices", "prepare_volumes"}
    content[-1] ^= 1
    first.write_bytes(bytes(content))
    assert _out_of_date(project_copy) == {}
    shutil.copy(last, last.with_name("ID_another.dcm"))
    assert "1 file added" in _out_of_date(project_copy)["index_slices"][0]
    last.with_name("ID_another.dcm").unlink()
    table = pd.read_csv(csv)
    table.loc[0, "Label"] = 1 - table.loc[0, "Label"]
    table.to_csv(csv, index=False)
    assert set(_out_of_date(project_copy)) == {"read_labels"}


def test_a_run_that_was_killed_between_two_results_of_a_node(project_copy: Path) -> None:
    """The first result has a record of the present files, the second one of earlier files."""
    folder = project_copy / "data" / "02_intermediate"
    (project_copy / "data" / "01_raw" / "stage_2_train" / "another.txt").write_text("no image")
    second = [folder / "slice_index.parquet", folder / ".slice_index.parquet.origin.json"]
    before = [path.read_bytes() for path in second]
    run_session(project_copy, pipeline_names=["ingestion"], only_missing_outputs=True)
    assert "index_slices" not in _out_of_date(project_copy)
    for path, content in zip(second, before, strict=True):
        path.write_bytes(content)
    causes = _out_of_date(project_copy)
    assert causes["index_slices"] == ("slice_index was made from other files",)
    assert _out_of_date(project_copy) == causes, "looking at the plan changes no record"


def test_masks(project_copy: Path) -> None:
    masks = sorted((project_copy / "data" / "01_raw" / "masks").glob("*.nii.gz"))
    masks[0].rename(masks[0].with_name("ID_another.nii.gz"))
    causes = _out_of_date(project_copy)
    assert set(causes) == {"label_masks"}
    added, removed = causes["label_masks"]
    assert added == "1 file added (masks/ID_another.nii.gz)"
    assert removed.startswith("1 file removed")


def test_only_the_declared_version_of_the_code_puts_results_out_of_date(
    finished_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version, "__version__", "99.0")
    assert _out_of_date(finished_project) == {}
    newer = replace(declaration_of(split_patients), version=2)
    monkeypatch.setattr(split_patients, "result_of", newer)
    causes = _out_of_date(finished_project)
    assert causes == {"split_patients": ("version of the code 1 -> 2",)}


def test_stored_results_that_were_changed(project_copy: Path) -> None:
    models = project_copy / "data" / "06_models" / "resnet18_400"
    first, second = (models / f"fold_{fold}" / "checkpoint.safetensors" for fold in (0, 1))
    first.rename(models / "kept")
    second.rename(first)
    (models / "kept").rename(second)
    swapped = _out_of_date(project_copy)
    assert {"resnet18_400.fold_0.train", "resnet18_400.fold_1.train"} <= set(swapped)
    assert "was changed after it was made" in swapped["resnet18_400.fold_0.train"][0]
    next((project_copy / "data" / "03_primary" / "volumes").glob("*.b2")).unlink()
    assert "prepare_volumes" in _out_of_date(project_copy)


@pytest.mark.parametrize("name", ["volume_index", "folds"])
def test_a_missing_table_puts_nothing_out_of_date(project_copy: Path, name: str) -> None:
    (project_copy / "data" / "03_primary" / f"{name}.parquet").unlink()
    plan = _plan(project_copy)
    assert not plan.of(State.OUT_OF_DATE)
    assert {node.node for node in plan.of(State.FOLLOWS)} >= TRAIN_ALL | PREDICT_ALL
