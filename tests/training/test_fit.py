"""Training end to end on tiny volumes: it learns, and a killed run ends with the same weights."""

import math
from pathlib import Path

import pytest
import torch

from rsna19_kedro.errors import InputError
from rsna19_kedro.training.fit import split_fold, train_model
from rsna19_kedro.training.module import PhaseModule
from rsna19_kedro.training.recipe import Recipe
from small_volumes import disk_volumes

LUT = ((torch.arange(-400, 1001) - 50) / 30).clamp(-1, 1)  # HU 20..80


def _recipe(model: str, **changes) -> Recipe:
    base = {
        "model": model,
        "input": {"crop_px": 32},
        "augmentation": {"flip_horizontal": 0.5, "affine": 0.5, "shift": 0.1, "rotate_deg": 20},
        "initial_weights": None,
        "dropout": 0.1,
        "phases": [
            {
                "name": "prefit",
                "optimizer": "adam",
                "learning_rate": 1e-3,
                "steps": 3,
                "batch": 4,
                "single_slice_epochs": "all",
                "frozen_steps": "all",
            },
            {
                "name": "main",
                "learning_rate": 1e-3,
                "epochs": 2,
                "batch": 4,
                "accumulate": 2,
                "single_slice_epochs": 1,
                "frozen_steps": 2,
                "validations_per_epoch": 2,
                "gradient_clip": 10,
                "weight_decay": 0.001,
            },
        ],
        "variants": ["normal"],
    }
    return Recipe.model_validate(base | changes)


def _train(recipe: Recipe, folder: Path):
    store, folds, index = disk_volumes(folder / "volumes")
    train, validation = split_fold(folds, index, 1)
    resume = folder / "resume"
    resume.mkdir(exist_ok=True)
    return train_model(recipe, 1, train, validation, store, LUT, resume)


@pytest.mark.parametrize(
    ("model", "keep"), [("resnet18_400", "last"), ("clf2Dc_resnet34_3c", "best")]
)
@pytest.mark.parametrize("killed_in", [(0, 0), (1, 0), (1, 3)])
def test_killed_and_resumed_gives_the_same_weights(
    tmp_path, monkeypatch, model: str, keep: str, killed_in: tuple[int, int]
) -> None:
    recipe = _recipe(model, keep=keep)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    _, undisturbed, history = _train(recipe, tmp_path / "a")
    with monkeypatch.context() as patch:
        start = PhaseModule.on_train_epoch_start

        def killed(self: PhaseModule) -> None:
            if (self.seed[2], self.unit.index) == killed_in:
                raise KeyboardInterrupt
            start(self)

        patch.setattr(PhaseModule, "on_train_epoch_start", killed)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            _train(recipe, tmp_path / "b")
    _, resumed, history_resumed = _train(recipe, tmp_path / "b")
    assert [row["phase"] for row in history] == ["prefit"] + ["main"] * 4
    assert [row["val_loss"] for row in history_resumed] == [row["val_loss"] for row in history]
    assert undisturbed.keys() == resumed.keys()
    for name, value in undisturbed.items():
        assert torch.equal(value, resumed[name]), name


def test_state_of_another_recipe_is_not_taken_up(tmp_path, monkeypatch, caplog) -> None:
    start = PhaseModule.on_train_epoch_start

    def killed(self: PhaseModule) -> None:
        if self.seed[2] == 1:
            raise KeyboardInterrupt
        start(self)

    with monkeypatch.context() as patch:
        patch.setattr(PhaseModule, "on_train_epoch_start", killed)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            _train(_recipe("resnet18_400"), tmp_path)
    assert (tmp_path / "resume" / "phase_0.ckpt").is_file()
    other = _recipe("resnet18_400", seed=1, phases=[_recipe("resnet18_400").phases[0].model_dump()])
    _train(other, tmp_path)
    assert "training starts anew" in caplog.text


def test_it_learns_bright_disks(tmp_path) -> None:
    phase = {
        "name": "main",
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "schedule": {"kind": "one_cycle"},
        "epochs": 20,
        "batch": 4,
        "single_slice_epochs": "all",
    }
    _, _, history = _train(_recipe("resnet18_400", phases=[phase]), tmp_path)
    assert history[-1]["val_auc_any"] > 0.9
    assert history[-1]["train_loss"] < 0.8 * math.log(2)


def test_frozen_encoder_keeps_its_weights_and_its_batch_norm(tmp_path) -> None:
    phases = [_recipe("resnet18_400").phases[0].model_dump()]
    recipe = _recipe("resnet18_400", phases=phases)
    torch.manual_seed(recipe.seed + 1000)
    from rsna19_kedro.networks.slice_network import SliceNetwork
    from rsna19_kedro.networks.zoo import ZOO

    before = SliceNetwork(ZOO["resnet18_400"]).state_dict()
    _, after, _ = _train(recipe, tmp_path)
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert {"encoder.conv1.weight", "head.weight", "combiner.conv.weight"} <= moved
    assert "encoder.bn1.running_mean" in moved
    assert not any("layer" in name for name in moved)


def test_loss_that_is_not_finite_stops_the_training(tmp_path) -> None:
    phase = {"name": "main", "learning_rate": 1e30, "optimizer": "adam", "epochs": 4, "batch": 4}
    with pytest.raises(InputError, match="loss became"):
        _train(_recipe("resnet18_400", phases=[phase]), tmp_path)


def test_fold_without_slices_or_positives_is_refused(tmp_path) -> None:
    _, folds, index = disk_volumes(tmp_path)
    with pytest.raises(InputError, match="fold 4 holds no labelled slices"):
        split_fold(folds, index, 4)
    with pytest.raises(InputError, match="none of the 24 training slices is positive"):
        split_fold(folds.assign(any=0), index, 1)


def test_class_without_positives_is_a_warning(tmp_path, caplog) -> None:
    _, folds, index = disk_volumes(tmp_path)
    split_fold(folds.assign(epidural=0), index, 1)
    assert "no training slice of class epidural" in caplog.text
