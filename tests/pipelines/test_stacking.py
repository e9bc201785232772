import errno
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from kedro.io import DataCatalog, DatasetError, MemoryDataset
from kedro.runner import SequentialRunner
from pydantic import ValidationError

from first_level_factory import simulate
from rsna19_kedro.contracts import CLASSES, FOLDS, KEYS, PREDICTIONS
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.datasets.level2_model import Level2ModelDataset
from rsna19_kedro.ensemble.blend import blend_members
from rsna19_kedro.ensemble.combination import (
    MeanCandidate,
    SimplexCandidate,
    SimplexSettings,
)
from rsna19_kedro.ensemble.registry import KINDS
from rsna19_kedro.pipelines.stacking import create_pipeline, nodes
from rsna19_kedro.pipelines.stacking.parameters import StackingParameters
from rsna19_kedro.scope import Scope

CONF = Path(__file__).resolve().parents[2] / "conf" / "base"
MODELS = ("resnet18_400", "clf2Dc_resnet34_3c")


def yaml_parameters():
    text = (CONF / "parameters" / "stacking.yml").read_text()
    return yaml.safe_load(text.replace("${runtime_params:seed, ${globals:seed}}", "7"))["stacking"]


def catalog_entries(folder):
    """The catalog entries of the results, with files in another folder."""
    entries = yaml.safe_load((CONF / "catalog" / "stacking.yml").read_text())
    del entries["params:level2_folder"]
    for entry in entries.values():
        entry["filepath"] = str(folder / entry["filepath"])
    return entries


def quick_parameters():
    content = yaml_parameters()
    window = {"radius": 0, "mean_radius": 1}
    boosting = {"features": window, "iterations": 15, "inner_folds": 2, "threads": 1}
    content["candidates"]["catboost"].update(boosting)
    for name in ("mlp", "sequence"):
        content["candidates"][name].update(width=8, epochs=1, least_steps=4, checks=2)
    return StackingParameters(**{**content, "resamples": 100, "workers": 1})


def write_volumes(store, folds):
    rng = np.random.default_rng(0)
    for study, slices in folds.groupby("study_id"):
        volume = rng.normal(30, 10, (len(slices), 16, 16)).astype(np.int16)
        store.write(str(study), volume, {})


@pytest.fixture(scope="module", params=[MODELS, MODELS[:1]], ids=["two models", "one model"])
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stacking")
    simulation = simulate(request.param)
    store = VolumeStore(folder / "volumes")
    write_volumes(store, simulation.folds)
    given = {f"{m}.fold_{k}.oof": table for (m, k), table in simulation.oof.items()}
    given |= {f"{m}.fold_{k}.test": table for (m, k), table in simulation.test.items()}
    given |= {
        "folds": simulation.folds,
        "test_slices": simulation.test_slices,
        "volumes": store,
        "volume_index": pd.DataFrame(),
        "raw_download": folder,
        "params:stacking": quick_parameters(),
        "params:level2_folder": folder / "data" / "07_model_output" / "level2",
    }
    pipeline = create_pipeline(Scope(models=request.param, folds=FOLDS))
    assert pipeline.inputs() == set(given)
    catalog = DataCatalog.from_config(catalog_entries(folder))
    for name, data in given.items():
        catalog[name] = MemoryDataset(data, copy_mode="assign")
    SequentialRunner().run(pipeline, catalog)
    return simulation, {name: catalog[name].load() for name in pipeline.all_outputs()}, folder


def test_every_output_is_in_the_catalog_file():
    pipeline = create_pipeline(Scope(models=MODELS, folds=FOLDS))
    entries = catalog_entries(CONF)
    assert pipeline.all_outputs() == set(entries)
    assert all(entry["metadata"]["kedro-viz"]["layer"] for entry in entries.values())
    assert {node.namespace for node in pipeline.nodes} == {"stacking"}


def test_finished_fits_are_removed_when_the_result_is_saved(run):
    _, _, folder = run
    assert list((folder / "data" / "07_model_output" / "level2" / "fits").iterdir()) == []


def test_the_simplex_of_the_chosen_candidate_is_not_fitted_again(run, monkeypatch):
    _, results, _ = run
    level1, parameters = results["level1_oof"], quick_parameters()
    choice = {"candidate": "simplex", "corrections": [{"kind": "any"}], "blend_weights": None}
    model = nodes.fit_final(level1, choice, parameters)
    monkeypatch.setattr(SimplexCandidate, "fit", None)
    weights = nodes.simplex_weights(level1, model, parameters)
    pd.testing.assert_frame_equal(weights, results["level2_weights"])


def test_scores_contain_candidates_and_references(run):
    _, results, _ = run
    scores = results["level2_scores"].set_index("candidate")
    rows = {"inner_choice", "prevalence", "hu_histogram"}
    assert set(scores.index) == {*yaml_parameters()["candidates"], *rows}
    assert scores.loc["mean", "loss"] < scores.loc["prevalence", "loss"]
    assert scores.loc["mean", "auc_any"] > 0.7
    assert scores.loc["hu_histogram", "auc_any"] < 0.65  # the volumes are noise


def test_the_choice_is_readable_json(run):
    _, results, folder = run
    choice = json.loads((folder / "data" / "06_models" / "level2_choice.json").read_text())
    candidates = list(yaml_parameters()["candidates"])
    scores = results["level2_scores"].set_index("candidate")
    assert choice["chosen"] == "inner_choice"
    assert choice["loss"][0] == scores.loc["inner_choice", "loss"]
    assert choice["candidate"] == scores.loc[candidates, "loss"].idxmin()
    assert choice["parameters"]["kind"] == choice["kind"]
    assert choice["seed"] == 7
    assert set(choice["inner"]) == {"0", "1", "2", "3", "4"}
    fitted = results["level2_model"]
    kind = "corrected" if choice["corrections"] else choice["kind"]
    assert fitted.kind == kind
    assert getattr(fitted, "base", fitted).kind == choice["kind"]


def test_the_chosen_row_is_in_the_nested_predictions(run):
    """The report reads it by the name in the choice."""
    simulation, results, _ = run
    table = results["level2_oof"]
    chosen = table[table["candidate"] == results["level2_choice"]["chosen"]]
    assert len(chosen) == len(simulation.folds)


@pytest.mark.parametrize("corrections", [[], [{"kind": "any", "a": [], "b": [], "c": []}]])
@pytest.mark.parametrize("name", ["blend", "gaussian"])
def test_any_chosen_candidate_is_fitted_saved_and_loaded(run, name, corrections, tmp_path):
    _, results, _ = run
    parameters = quick_parameters()
    members = blend_members(parameters.candidates)["blend"]
    weights = np.full((len(members), 6), 1 / len(members)).tolist() if name == "blend" else None
    choice = {"candidate": name, "corrections": corrections, "blend_weights": weights}
    model = nodes.fit_final(results["level1_oof"], choice, parameters)
    dataset = Level2ModelDataset(filepath=str(tmp_path / "level2"))
    dataset.save(model)
    expected = nodes.predict_test_stacked(model, results["level1_test"])
    pd.testing.assert_frame_equal(
        nodes.predict_test_stacked(dataset.load(), results["level1_test"]), expected
    )
    if corrections:
        types = expected[list(PREDICTIONS[:-1])].max(axis=1)
        assert (expected["pred_any"] >= types).all()


def test_nested_predictions_hold_every_slice_once_per_candidate(run):
    simulation, results, _ = run
    table = results["level2_oof"]
    assert list(table.columns) == [*KEYS, "patient_id", "fold", "candidate", *PREDICTIONS]
    for _, part in table.groupby("candidate"):
        assert set(part["sop_instance_uid"]) == set(simulation.folds["sop_instance_uid"])
        assert part["sop_instance_uid"].is_unique


def test_submissions_are_in_kaggles_format(run):
    simulation, _, folder = run
    submissions = folder / "data" / "07_model_output" / "submissions"
    for name, low in (("submission_average", 1e-6), ("submission_stacked", 1e-5)):
        lines = (submissions / f"{name}.csv").read_text().splitlines()
        assert lines[0] == "ID,Label"
        assert len(lines) == 1 + 6 * len(simulation.test_slices)
        ids = [line.split(",")[0] for line in lines[1:]]
        assert ids == sorted(ids)
        assert all(len(line.split(",")[1].split(".")[1]) == 8 for line in lines[1:])
        values = [float(line.split(",")[1]) for line in lines[1:]]
        assert low <= min(values)
        assert max(values) <= 1 - low


def test_the_average_is_over_models_folds_and_augmentations(run):
    simulation, results, _ = run
    uid = simulation.test_slices["sop_instance_uid"].iloc[5]
    rows = pd.concat(list(simulation.test.values()))
    expected = rows.loc[rows["sop_instance_uid"] == uid, "pred_subdural"].mean()
    submitted = results["submission_average"].set_index("ID")["Label"]
    assert submitted[f"{uid}_subdural"] == pytest.approx(expected, abs=1e-6)


def test_weights_have_model_source_and_offset(run):
    _, results, _ = run
    weights = results["level2_weights"]
    models = weights["model"].nunique()
    assert len(weights) == 30 * models
    assert sorted(weights["offset"].unique()) == [-2, -1, 0, 1, 2]
    np.testing.assert_allclose(weights[list(CLASSES)].sum(), 1)
    assert weights.index[0] == f"{weights['model'].iloc[0]}|epidural|-2"


def test_no_test_slices_give_empty_submissions(tmp_path):
    empty = pd.DataFrame({"sop_instance_uid": ["a"], "study_id": ["s"], "slice_num": [0]}).iloc[:0]
    level1 = nodes.collect_test(empty)
    level2 = nodes.predict_test_stacked(MeanCandidate(models=("one",)), level1)
    parameters = quick_parameters()
    assert nodes.average_submission(level1, tmp_path, parameters).empty
    assert nodes.stacked_submission(level2, tmp_path, parameters).empty


def test_saving_a_model_replaces_the_whole_folder(tmp_path):
    dataset = Level2ModelDataset(filepath=str(tmp_path / "level2"))
    assert not dataset.exists()
    (tmp_path / "level2").mkdir()
    (tmp_path / "level2" / "member_9.cbm").write_text("left over")
    weights = np.full((6, 6), 1 / 6)
    dataset.save(SimplexCandidate(SimplexSettings(radius=0), models=("one",), weights=weights))
    assert dataset.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["level2"]
    assert [path.name for path in (tmp_path / "level2").iterdir()] == ["candidate.json"]
    np.testing.assert_array_equal(dataset.load().weights, np.full((6, 6), 1 / 6))


@pytest.mark.parametrize("failing", [1, 2])
def test_a_model_survives_a_fault_while_another_one_replaces_it(tmp_path, monkeypatch, failing):
    dataset = Level2ModelDataset(filepath=str(tmp_path / "level2"))
    weights = np.full((6, 6), 1 / 6)
    dataset.save(SimplexCandidate(SimplexSettings(radius=0), models=("old",), weights=weights))
    renamed, replace = [], Path.replace

    def fail(path, target):
        renamed.append(path)
        if len(renamed) == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(path, target)

    new = SimplexCandidate(SimplexSettings(radius=0), models=("new",), weights=weights)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(DatasetError) as error:
            dataset.save(new)
    assert "no space is left on the disk" in str(error.value.__cause__)
    assert dataset.exists()
    assert dataset.load().models == ("old",)
    dataset.save(new)
    assert dataset.load().models == ("new",)
    assert [path.name for path in tmp_path.iterdir()] == ["level2"]


def _misspelt(content):
    content["candidates"]["simplex"]["radios"] = 3


def _unknown_kind(content):
    content["candidates"]["simplex"]["kind"] = "median"


def _no_mean(content):
    del content["candidates"]["mean"]


def _taken_name(content):
    content["candidates"]["inner_choice"] = {"kind": "gaussian"}


def _unknown_member(content):
    content["candidates"]["blend"]["members"] = ["mean", "oracle"]


def _corrected(content):
    content["candidates"]["mine"] = {"kind": "corrected"}


def _too_wide(content):
    content["candidates"]["catboost"]["features"]["radius"] = 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_misspelt, "radios"),
        (_unknown_kind, "median"),
        (_no_mean, "needs an entry 'mean'"),
        (_taken_name, "the name 'inner_choice' is reserved"),
        (_unknown_member, "'oracle' is not a candidate"),
        (_corrected, "candidates.mine: use stacking.corrections"),
        (_too_wide, "less than or equal to 9"),
    ],
)
def test_invalid_parameters_are_reported(change, message):
    content = yaml_parameters()
    change(content)
    with pytest.raises(ValidationError, match=message):
        StackingParameters(**content)


def test_settings_of_every_kind_are_read_without_slow_imports():
    code = (
        "import sys; from rsna19_kedro.pipelines.stacking import parameters; "
        "from rsna19_kedro.ensemble.registry import KINDS, read_settings; "
        "print(*(read_settings({'kind': kind}).kind for kind in KINDS)); "
        "print({'torch', 'catboost', 'sklearn', 'matplotlib'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines() == [" ".join(KINDS), "set()"]
