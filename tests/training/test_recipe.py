"""The recipes in the configuration, and what a wrong one says."""

import math
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from pydantic import ValidationError

from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.training.plan import is_frozen, learning_rate, plan_phase
from rsna19_kedro.training.recipe import InputSize, Recipe

MODELS = Path(__file__).resolve().parents[2] / "conf" / "base" / "parameters" / "models"


def _recipe(name: str, **changes: object) -> Recipe:
    config = OmegaConf.load(MODELS / f"{name}.yml")[name]
    config.seed = 0
    return Recipe.model_validate({**OmegaConf.to_container(config), **changes})


@pytest.mark.parametrize("name", ZOO)
def test_every_model_has_a_recipe_of_its_name(name: str) -> None:
    assert _recipe(name).model == name


def test_resnet18_400_follows_the_reference_at_full_length() -> None:
    # Reference, section 4a: 40,000 / 16 frozen batches of 32 single slices at Adam 1e-4; then
    # 7 epochs, the first 5 on single slices at twice the batch, x0.2 from epoch 6.
    recipe = _recipe("resnet18_400")
    prefit, main = recipe.phases
    slices = 540_000
    frozen = plan_phase(prefit, slices)
    assert sum(unit.batches for unit in frozen) == 2500
    assert {(unit.batch, unit.single_slice) for unit in frozen} == {(32, True)}
    assert all(is_frozen(prefit, step) for step in (0, 2499))
    assert (prefit.optimizer, prefit.gradient_clip) == ("adam", 100)
    units = plan_phase(main, slices)
    assert [(u.batch, u.single_slice) for u in units] == [(32, True)] * 5 + [(16, False)] * 2
    rates = [learning_rate(main, unit.first_step, unit.epoch, 0) for unit in units]
    assert rates == pytest.approx([1e-4] * 6 + [2e-5])
    assert (main.optimizer, main.frozen_steps, recipe.keep) == ("radam", 0, "last")


def test_clf2dc_resnet34_3c_follows_the_reference_at_full_length() -> None:
    # Reference, section 4b: batch 64, 2,000 frozen of 8,000 flat + 12,000 cosine steps to 1e-7,
    # validation four times an epoch, best kept, stop when the schedule has ended.
    recipe = _recipe("clf2Dc_resnet34_3c")
    (main,) = recipe.phases
    units = plan_phase(main, 540_000)
    total = sum(unit.batches for unit in units)
    assert total == 20_000
    assert {unit.batch for unit in units} == {64}
    assert len(units) == math.ceil(total / (540_000 // 64 / 4))
    steps = (0, 1_999, 2_000, 7_999, 14_000, 19_999)
    assert [is_frozen(main, step) for step in steps] == [True, True, *[False] * 4]
    rates = [learning_rate(main, step, 0, total) for step in steps]
    assert rates[:4] == pytest.approx([1e-4] * 4)
    assert rates[4] == pytest.approx((1e-4 + 1e-7) / 2)
    assert rates[5] == pytest.approx(1e-7, rel=0.01)
    assert (main.optimizer, main.weight_decay, recipe.keep) == ("radam", 0.001, "best")
    assert (recipe.dropout, recipe.augmentation.border) == (0.5, "air")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimiser": "adam"}, "optimiser"),
        ({"variants": ["upside_down"]}, "upside_down"),
        ({"phases": []}, "at least one phase"),
        ({"precision": "8-bit"}, "precision"),
        ({"keep": "first"}, "keep"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        _recipe("resnet18_400", **changes)


def test_reduction_is_by_a_whole_factor() -> None:
    with pytest.raises(ValidationError, match="does not divide"):
        InputSize(crop_px=384, resize_px=50)
