"""New studies: members and their combination, heatmaps, and the function without Kedro."""

import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from recipes import input_of
from rsna19_kedro import predict_study
from rsna19_kedro.contracts import CLASSES, PREDICTIONS
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.ensemble.combination import MeanCandidate
from rsna19_kedro.ensemble.correction import CorrectedCandidate, CorrectedSettings
from rsna19_kedro.ensemble.level1 import FirstLevel
from rsna19_kedro.ensemble.mlp import MLPCandidate, MLPSettings
from rsna19_kedro.ensemble.settings import WindowOptions
from rsna19_kedro.errors import InputError, ModelError, ParameterError, SourceError
from rsna19_kedro.networks.build import build_network
from rsna19_kedro.networks.checkpoint import Checkpoint
from rsna19_kedro.networks.evidence import class_evidence
from rsna19_kedro.networks.slice_network import Combiner
from rsna19_kedro.networks.training_data import NOT_RECORDED, SYNTHETIC_ONLY, TRAINING_DATA
from rsna19_kedro.networks.whole_study import whole_study_maps
from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.pipelines.new_study.nodes import predict_new
from rsna19_kedro.pipelines.new_study.parameters import NewStudyParameters
from rsna19_kedro.prediction.heat import HEAT_PX
from rsna19_kedro.prediction.members import Combination, find_members
from rsna19_kedro.prediction.new_study import predict_prepared
from rsna19_kedro.prediction.new_study_page import new_study_page
from rsna19_kedro.prediction.settings import PredictionSettings

pytestmark = pytest.mark.slow

LUT = ((torch.arange(-400, 1001) - 50) / 30).clamp(-1, 1)
MODELS = ("resnet18_400", "clf2Dc_resnet34_3x3")
DECODER = "resnet18_384_5_planes_bn_f8"


def _write_checkpoint(
    folder: Path, model: str, fold: int, variants: Sequence[str], **metadata: object
) -> None:
    torch.manual_seed(fold)
    Checkpoint(
        ZOO[model],
        build_network(ZOO[model]).state_dict(),
        LUT,
        crop_px=384,
        resize_px=48,
        metadata={"recipe": {"variants": list(variants)}, **metadata},
    ).write(folder / model / f"fold_{fold}" / "checkpoint.safetensors")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory):
    """Two models with two folds each and random weights."""
    folder = tmp_path_factory.mktemp("models")
    for model in MODELS:
        for fold in (0, 3):
            variants = ["normal", "flip_horizontal"] if "18" in model else ["rotate_plus15"]
            _write_checkpoint(folder, model, fold, variants)
    return folder


SYNTHETIC = {"synthetic": True, "patients": 4, "studies": 5, "slices": 60, "sha256": "a"}
REAL = {**SYNTHETIC, "synthetic": False, "sha256": "b"}


def _head(slices: int = 4) -> np.ndarray:
    hu = np.full((slices, 420, 410), -1000, np.int16)
    hu[:, 100:300, 120:280] = 35
    hu[2, 150:180, 150:180] = 75
    return hu


@pytest.mark.parametrize(
    "name", ["resnet18_400", "clf2Dc_resnet34_3c", "clf2Dc_resnet34_3x3", "maxvit_tiny_384"]
)
def test_class_activation_map_and_bias_sum_to_the_logit(name: str) -> None:
    network = build_network(ZOO[name], size=input_of(name, 96)).eval()
    for module in network.modules():
        if isinstance(module, Combiner):
            torch.nn.init.normal_(module.conv.weight, std=0.02)
    with torch.inference_mode():
        (maps,) = whole_study_maps(network, [torch.randn(2, 3, 96, 96)], -1.0)
        output = network.classify(maps)
        evidence = class_evidence(network, maps, output)
        total = evidence.sum(dim=(3, 4)) + network.head.bias
    assert evidence.shape[:3] == (2, 3, 6)
    assert torch.allclose(total, output.logits, atol=1e-4)


def test_class_activation_maps_of_a_decoder_are_its_masks() -> None:
    network = build_network(ZOO[DECODER]).eval()
    with torch.inference_mode():
        (maps,) = whole_study_maps(network, [torch.randn(1, 2, 64, 64)], -1.0)
        output = network.classify(maps)
        evidence = class_evidence(network, maps, output)
    masks = torch.sigmoid(output.masks)
    assert torch.equal(evidence[:, :, :5], masks[:, :, :5])
    assert torch.equal(evidence[:, :, 5], masks[:, :, 6])


def test_members_are_found_and_selected(checkpoints) -> None:
    everyone = find_members(checkpoints)
    assert [(m.model, m.fold) for m in everyone] == [(m, f) for m in MODELS for f in (0, 3)]
    assert len(find_members(checkpoints, folds=(3,))) == 2
    assert len(find_members(checkpoints, models=("resnet18_400",))) == 2
    assert len(find_members(checkpoints, fast=True)) == 1
    with pytest.raises(InputError, match=r"available: clf2Dc_resnet34_3x3 fold 0.*kedro run"):
        find_members(checkpoints, models=("airnet50_384",))
    with pytest.raises(ModelError, match="available: none"):
        find_members(checkpoints / "nowhere", models=("resnet18_400",))


def test_members_are_the_models_of_the_second_level(tmp_path) -> None:
    for model in MODELS:
        _write_checkpoint(tmp_path, model, 0, ["normal"])
    (tmp_path / "level2").mkdir()
    MeanCandidate(models=MODELS[1:]).save(tmp_path / "level2")
    assert [member.model for member in find_members(tmp_path)] == [*MODELS[1:]]
    assert len(find_members(tmp_path, models=MODELS)) == 2
    CorrectedCandidate(
        CorrectedSettings(), parts={"base": MeanCandidate()}, trained_on={MODELS[1]: {}}
    ).save(tmp_path / "level2")
    assert [member.model for member in find_members(tmp_path)] == [*MODELS[1:]]
    shutil.rmtree(tmp_path / "level2" / "part_0")
    MeanCandidate(models=(*MODELS, "dpn68_384_5_planes_combine_last")).save(tmp_path / "level2")
    assert len(find_members(tmp_path)) == 2


def test_thin_slices_take_the_results_of_their_slab(checkpoints, tmp_path) -> None:
    results = []
    thick = _head()[:, :400, :400]
    for name, volume, per_slab in (("a", np.repeat(thick, 3, axis=0), 3), ("b", thick, 1)):
        store = VolumeStore(tmp_path / name)
        store.write("study", volume, {"record": {"slices_per_slab": per_slab}})
        members = find_members(checkpoints, folds=(0,))
        results += predict_prepared(store, ["study"], members, None, PredictionSettings())
    thin_result, thick_result = results
    expected = thick_result.slices[list(PREDICTIONS)].to_numpy().repeat(3, axis=0)
    np.testing.assert_allclose(thin_result.slices[list(PREDICTIONS)], expected, atol=1e-6)
    assert thin_result.slices["slice_num"].tolist() == list(range(12))
    assert thin_result.heat is not None
    assert thin_result.heat.shape[0] == 12


def test_second_level_is_used_only_if_it_fits(tmp_path, caplog) -> None:
    rng = np.random.default_rng(0)
    votes = {name: rng.random((5, 6)) for name in MODELS}
    mean, method = Combination(tmp_path)(votes)
    assert np.allclose(mean, np.mean(list(votes.values()), axis=0), atol=1e-6)
    assert "no second level is trained" in method
    studies, numbers = np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 0, 1])
    features = FirstLevel(
        MODELS, np.stack(list(votes.values()), axis=1).astype(np.float32), studies, numbers
    )
    candidate = MeanCandidate()
    candidate.fit(features, np.zeros((5, 6), np.uint8), studies)
    candidate.save(tmp_path)
    assert "second level (mean)" in Combination(tmp_path)(votes)[1]
    one = {MODELS[0]: votes[MODELS[0]]}
    combine = Combination(tmp_path)
    for _ in range(2):  # The second study has no warning of its own.
        values, method = combine(one)
        assert np.allclose(values, one[MODELS[0]], atol=1e-6)
        assert method.startswith(f"{MODELS[0]} alone (The second level was fitted on other models")
    assert len(caplog.records) == 1


def test_augmentations_are_those_that_the_second_level_was_fitted_with(tmp_path) -> None:
    model = MODELS[0]
    _write_checkpoint(tmp_path, model, 0, ["normal", "flip_horizontal"])
    assert find_members(tmp_path)[0].load()[1] == ("normal", "flip_horizontal")
    candidate = MeanCandidate(models=(model,), augmentations={model: ["normal", "rot90"]})
    (tmp_path / "level2").mkdir()
    candidate.save(tmp_path / "level2")
    assert find_members(tmp_path)[0].load()[1] == ("normal", "rot90")


def test_second_level_gets_the_areas_that_it_was_fitted_with(tmp_path) -> None:
    rng = np.random.default_rng(0)
    votes = {"resnet18_384_5_planes_bn_f8": rng.random((40, 6))}
    studies, numbers = np.repeat(np.arange(10), 4), np.tile(np.arange(4), 10)
    areas = rng.random((40, 7)).astype(np.float32)
    predictions = votes["resnet18_384_5_planes_bn_f8"].astype(np.float32)[:, None]
    features = FirstLevel(tuple(votes), predictions, studies, numbers, areas)
    windows = WindowOptions(radius=0, areas=True)
    candidate = MLPCandidate(MLPSettings(features=windows, width=4, least_steps=2, epochs=1))
    candidate.fit(features, (rng.random((40, 6)) > 0.5).astype(np.uint8), studies)
    candidate.save(tmp_path)
    expected = candidate.predict(features)
    combine = Combination(tmp_path)
    for study in range(10):
        rows = studies == study
        of_study = {name: values[rows] for name, values in votes.items()}
        values, method = combine(of_study, areas[rows])
        assert method == "second level (mlp) over one model"
        assert np.allclose(values, expected[rows], atol=1e-6)
    assert "bn_f8 alone (The second level uses the areas" in combine(votes)[1]


def test_masks_of_a_checkpoint_reach_the_second_level(tmp_path, monkeypatch) -> None:
    spec = ZOO[DECODER]
    for fold in (0, 3):
        torch.manual_seed(fold)
        path = tmp_path / spec.name / f"fold_{fold}" / "checkpoint.safetensors"
        Checkpoint(spec, build_network(spec).state_dict(), LUT, 384, 96).write(path)
    seen = []
    combine = Combination.__call__
    monkeypatch.setattr(
        Combination, "__call__", lambda *given: (seen.append(given[2]), combine(*given))[1]
    )
    for folds in ([0], [3], None):
        predict_study(_head(), tmp_path, folds=folds)
    one, other, both = seen
    assert both.shape == (4, 7)
    assert np.allclose(both, (one + other) / 2, atol=1e-6)
    assert ((both > 0) & (both < 1)).all()


def test_array_is_predicted(checkpoints) -> None:
    result = predict_study(_head(), checkpoints)
    assert result.members == tuple(f"{m} fold {f}" for m in MODELS for f in (0, 3))
    table = result.slices[list(PREDICTIONS)]
    assert table.shape == (4, 6)
    assert ((table >= 0) & (table <= 1)).all(axis=None)
    assert result.study == pytest.approx(
        {name: table[f"pred_{name}"].max() for name in CLASSES}, abs=1e-6
    )
    assert result.slices["pred_any"].iloc[result.most_suspicious] == table["pred_any"].max()
    assert (result.slices[[f"spread_{name}" for name in CLASSES]] > 0).all(axis=None)
    assert result.heat.shape == (4, 6, HEAT_PX, HEAT_PX)
    assert result.hu.shape == (4, 400, 400)
    assert np.count_nonzero(result.hu[2] == 75) == 30 * 30


def test_fine_maps_are_weighted_more_than_coarse_ones(tmp_path) -> None:
    coarse, fine = "resnet18_400", DECODER
    for model in (coarse, fine):
        _write_checkpoint(tmp_path, model, 0, ["normal"])
    both, low, high = (
        predict_study(_head(), tmp_path, models=models).heat.astype(np.float32)
        for models in ([coarse, fine], [coarse], [fine])
    )
    assert np.allclose(both, (2**2 * low + 12**2 * high) / (2**2 + 12**2), atol=1e-3)
    assert not np.allclose(low, high, atol=0.1)


def test_mean_is_over_augmentations_then_folds_then_models(checkpoints) -> None:
    whole = predict_study(_head(), checkpoints).slices
    alone = [
        predict_study(_head(), checkpoints, models=[model], folds=[fold]).slices
        for model in MODELS
        for fold in (0, 3)
    ]
    mean = np.mean([part[list(PREDICTIONS)].to_numpy() for part in alone], axis=0)
    assert np.allclose(whole[list(PREDICTIONS)], mean, atol=1e-5)


def test_half_precision_gives_heatmaps_too(checkpoints) -> None:
    half = PredictionSettings(precision="bf16-mixed")
    low = predict_study(_head(), checkpoints, fast=True, settings=half)
    single = predict_study(_head(), checkpoints, fast=True)
    assert low.study["any"] == pytest.approx(single.study["any"], abs=0.02)
    assert low.heat.shape == single.heat.shape
    assert (low.precision, single.precision) == ("bf16", "fp32")


def test_fast_takes_one_member(checkpoints, tmp_path) -> None:
    for path in checkpoints.rglob("checkpoint.safetensors"):
        copied = tmp_path / path.relative_to(checkpoints)
        copied.parent.mkdir(parents=True)
        copied.hardlink_to(path)
    (tmp_path / "level2").mkdir()
    (tmp_path / "level2" / "candidate.json").write_text("nothing that could be read")
    result = predict_study(_head(), tmp_path, fast=True)
    assert result.members == ("resnet18_400 fold 0",)
    assert result.method == "resnet18_400 alone"
    with pytest.raises(ModelError, match=r"candidate\.json is damaged"):
        predict_study(_head(), tmp_path)


def test_a_single_name_is_a_model_and_a_single_number_a_fold(checkpoints) -> None:
    result = predict_study(_head(), checkpoints, models="clf2Dc_resnet34_3x3", folds=3)
    assert result.members == ("clf2Dc_resnet34_3x3 fold 3",)
    with pytest.raises(InputError, match="available"):
        predict_study(_head(), checkpoints, models="clf2Dc_resnet34_3x3_2")


@pytest.mark.parametrize(
    ("trained_on", "first", "second"),
    [
        ("synthetic", SYNTHETIC, SYNTHETIC),
        ("partly synthetic", SYNTHETIC, REAL),
        ("not recorded", REAL, None),
        ("real", REAL, REAL),
    ],
)
def test_new_study_states_the_training_data_of_its_models(
    tmp_path, caplog, trained_on: str, first: dict, second: dict | None
) -> None:
    """In log, table, summary, page and result; their precision, too."""
    for fold, data in enumerate((first, second)):
        recorded = {} if data is None else {TRAINING_DATA: data}
        _write_checkpoint(tmp_path, MODELS[0], fold, ["normal"], **recorded)
    (tmp_path / "report_summary.json").write_text(
        json.dumps({"models": [MODELS[0]], "auc_any": {"value": 0.9}, TRAINING_DATA: [REAL]})
    )
    result = predict_study(_head(), tmp_path)
    assert result.band.trained_on == trained_on
    volumes = VolumeStore(tmp_path / "volumes")
    volumes.write("study_1", result.hu, {})
    slices = pd.DataFrame(
        {
            **{"study_number": 1, "study_id": "s", "slice_num": range(4)},
            **{"sop_instance_uid": list("abcd"), "instance_number": [1, 2, 3, pd.NA]},
            "position_mm": 2.5,
        }
    )
    record = {"number": 1, "study_id": "s", "study_date": "", "series_description": ""}
    record |= {"remarks": [], "failed": None}
    findings = {"problems": {}, "refused": {}, "files": 4, "studies": [record]}
    with caplog.at_level(logging.INFO, logger="rsna19_kedro"):
        table, _, as_json, summary = predict_new(
            *(volumes, volumes, slices, findings, tmp_path, tmp_path / "heat", tmp_path),
            params=NewStudyParameters(),
            prediction=PredictionSettings(),
        )
    assert set(table["trained_on"]) == {trained_on}
    assert set(table["precision"]) == {"fp32"} == {summary["precision"], result.precision}
    assert "Predicted by 2 checkpoints in fp32: resnet18_400 alone" in caplog.text
    assert summary["synthetic"] == ("synthetic" in trained_on)
    (logged,) = [record for record in caplog.records if record.message == summary["band"]]
    assert (logged.levelname == "INFO") == (trained_on == "real")
    assert as_json["summary"]["band"] == summary["band"]
    assert [row["instance_number"] for row in as_json["studies"][0]["slices"]] == [1, 2, 3, None]
    series = pd.DataFrame({"study_number": [], "reason": [], "picked": np.zeros(0, bool)})
    page = new_study_page(
        volumes, table, series, findings, summary, tmp_path / "heat", tmp_path / "studies"
    )
    top, facts = page.split("Worklist")[0], page.split("How it was made")[1]
    assert "<dt>Precision</dt><dd>fp32</dd>" in facts
    if trained_on == "real":
        assert summary["band"].endswith("(5 studies, 60 slices); out-of-fold AUC of any: 0.900")
        assert summary["band"] in facts
        assert SYNTHETIC_ONLY not in page
        assert top.count('class="warning"') == 1  # For research only.
    else:
        assert f"<strong>{summary['band']}.</strong>" in top
        assert summary["band"].startswith(SYNTHETIC_ONLY if summary["synthetic"] else NOT_RECORDED)


def test_prepared_slices_are_used_unchanged(checkpoints) -> None:
    once = predict_study(_head(), checkpoints, fast=True)
    again = predict_study(once.hu, checkpoints, fast=True)
    assert np.array_equal(once.hu, again.hu)
    assert once.study == again.study


def test_missing_gpu_is_an_error(checkpoints, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ParameterError, match="finds no GPU"):
        predict_study(_head(), checkpoints, settings=PredictionSettings(accelerator="gpu"))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4)), r"\(slices, rows, columns\)"),
        (np.zeros((2, 80, 80)), "from 0.0 to 0.0, which are not HU"),
        (np.full((2, 80, 80), np.nan), "not finite"),
        (_head().transpose(1, 2, 0), "the slices come first"),
        (np.full((5, 80, 80), -1000), "hardly anything but air"),
        ([[1, 2]], "an array or a path, not a list"),
    ],
)
def test_arrays_that_are_not_a_study_are_refused(checkpoints, array, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        predict_study(array, checkpoints)


def test_checkpoint_of_another_version_is_refused(tmp_path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "resnet18_400" / "fold_0" / "checkpoint.safetensors"
    path.parent.mkdir(parents=True)
    save_file({"x": torch.zeros(1)}, path, metadata={"format": json.dumps("older")})
    with pytest.raises(ModelError, match="not a checkpoint of this version"):
        predict_study(_head(), tmp_path)
