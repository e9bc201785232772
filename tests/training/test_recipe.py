"""The recipes in the configuration, and messages for invalid ones."""

import pytest
from pydantic import ValidationError

from recipes import base_recipe
from rsna19_kedro.networks.input_size import InputSize
from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.training.recipe import Phase, TrainingSettings


@pytest.mark.parametrize("name", ZOO)
def test_every_model_has_a_recipe_of_its_name(name: str) -> None:
    recipe = base_recipe(name)
    assert recipe.model == name
    assert recipe.parent == ZOO[name].starts_from


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimiser": "adam"}, "optimiser"),
        ({"model": "resnet18_40"}, "Did you mean 'resnet18_400'"),
        ({"variants": ["upside_down"]}, "upside_down"),
        ({"phases": {}}, "at least one phase"),
        ({"phases": {"mian": {"learning_rate": 1, "epochs": 1, "batch": 1}}}, "mian"),
        ({"precision": "8-bit"}, "precision"),
        ({"keep": "first"}, "keep"),
        ({"run_slices": 4}, "less than the window of 5"),
        ({"mask_loss_weight": 1}, "has no decoder"),
        ({"initial_weights": "clf2Dc_resnet34_3c"}, "does not start from"),
    ],
)
def test_invalid_key_or_value_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        base_recipe("resnet18_400", **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "needs epochs, steps or both"),
        ({"epochs": 1, "one_cycle": {}, "step_decay": {"from_epochs": [1], "factor": 0.5}}, "one"),
        ({"epochs": 1, "validations_per_epoch": 4, "epochs_per_validation": 2}, "only one of"),
        ({"epochs": 1, "schedule": {}}, "schedule"),
    ],
)
def test_a_contradictory_phase_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Phase.model_validate({"learning_rate": 1, "batch": 1, **changes})


@pytest.mark.parametrize(
    ("windows", "message"),
    [([], "at least 1 item"), ([[40, 0]], "greater than 0"), ([[40]], "windows.0.1")],
)
def test_invalid_windows_are_refused(windows: list, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        base_recipe("resnet18_400", input={"crop_px": 400, "windows": windows})


def test_input_of_maxvit_is_a_multiple_of_32_px() -> None:
    with pytest.raises(ValidationError, match=r"multiple of 32 px, such as 384 or 416, not 400"):
        base_recipe("maxvit_tiny_384", input={"crop_px": 400})


def test_reduction_factor_is_an_integer() -> None:
    with pytest.raises(ValidationError, match="does not divide"):
        InputSize(crop_px=384, resize_px=50)


def test_unknown_machine_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="gpus"):
        TrainingSettings.model_validate({"gpus": 4})
