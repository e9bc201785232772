"""The small model that this package contains, trained on synthetic heads only."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from rsna19_kedro import predict_study
from rsna19_kedro.errors import ModelError
from rsna19_kedro.networks.build import build_network
from rsna19_kedro.networks.checkpoint import Checkpoint
from rsna19_kedro.networks.training_data import REAL_SCORE, SYNTHETIC_ONLY, TRAINING_DATA
from rsna19_kedro.networks.zoo import PACKAGED, SMALL, SMALL_CHECKPOINT, ZOO
from rsna19_kedro.phantoms import Acquisition, acquire, add_haemorrhages, make_head
from rsna19_kedro.prediction.members import find_members

OTHER = "resnet18_400"


@pytest.fixture(scope="module")
def with_other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with another model (random weights)."""
    folder = tmp_path_factory.mktemp("models")
    lut = Checkpoint.read(SMALL_CHECKPOINT).hu_lut
    checkpoint = Checkpoint(ZOO[OTHER], build_network(ZOO[OTHER]).state_dict(), lut, 400, 50)
    checkpoint.write(folder / OTHER / "fold_0" / "checkpoint.safetensors")
    return folder


def test_it_is_small_and_says_what_it_is() -> None:
    assert SMALL_CHECKPOINT.stat().st_size < 12e6
    described = Checkpoint.read(SMALL_CHECKPOINT).metadata[TRAINING_DATA]
    assert described["synthetic"] is True
    score = described[REAL_SCORE]
    assert 0.5 < score["low"] < score["auc"] < score["high"] < 1
    assert score["slices"] > score["patients"] > 1


def test_it_predicts_only_without_trained_models_or_if_named(
    with_other: Path, tmp_path: Path
) -> None:
    assert [(m.model, m.fold) for m in find_members(tmp_path)] == [(SMALL, 0)]
    assert [m.model for m in find_members(with_other)] == [OTHER]
    assert [m.path for m in find_members(with_other, models=(SMALL,))] == [SMALL_CHECKPOINT]
    assert {m.model for m in find_members(with_other, models=(OTHER, SMALL))} == {OTHER, SMALL}
    with pytest.raises(ModelError, match="available: none"):
        find_members(tmp_path, models=(OTHER,))


def test_a_retrained_one_replaces_it(tmp_path: Path) -> None:
    own = tmp_path / SMALL_CHECKPOINT.relative_to(PACKAGED)
    own.parent.mkdir(parents=True)
    shutil.copy(SMALL_CHECKPOINT, own)
    assert [m.path for m in find_members(tmp_path, models=(SMALL,))] == [own]


def test_a_given_folder_without_models_is_an_error(tmp_path: Path) -> None:
    hu = np.zeros((3, 400, 400), np.int16)
    with pytest.raises(ModelError, match="available: none"):
        predict_study(hu, tmp_path / "06_model")


def test_it_finds_haemorrhage_in_a_phantom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    head = make_head(seed=4)
    bleeding = add_haemorrhages(np.random.default_rng(4), head, ["intraventricular"])
    scan = Acquisition(tuple(np.arange(-10.0, 40.0, 6.0)), size_px=400, pixel_spacing_mm=0.55)
    scans = [acquire(head, scan, seed=0) for head in (head, bleeding)]
    normal, result = (predict_study(scan.hu.round().astype(np.int16)) for scan in scans)
    assert "using the small model of this package" in caplog.text
    assert result.members == (f"{SMALL} fold 0",)
    assert result.band.text.startswith(f"{SYNTHETIC_ONLY}; AUC of any on ")
    assert result.heat is not None
    blood = (scans[1].mask > 0).sum(axis=(1, 2)) > 100
    assert blood.sum() > 3
    values, without = (r.slices["pred_any"].to_numpy()[blood].mean() for r in (result, normal))
    assert values > 1.5 * without


def test_trainings_of_the_same_architecture_start_from_its_encoder() -> None:
    torch.manual_seed(0)
    network = build_network(ZOO[OTHER], weights="synthetic")
    stored = Checkpoint.read(SMALL_CHECKPOINT).weights
    state = network.encoder.state_dict()
    for name in ("conv1.weight", "bn1.running_mean", "layer3.1.conv2.weight"):
        assert state[name].equal(stored[f"encoder.{name}"].float())
    assert not any(name.startswith("encoder.layer4") for name in stored)
    for other in ("clf2Dc_resnet34_3c", "resnet34_400_5_planes_combine_last_var_dr0"):
        with pytest.raises(ModelError, match=f"synthetic does not fit.*{OTHER}"):
            build_network(ZOO[other], weights="synthetic")
