"""Checkpoints and models that do not fit together are refused, and the differences are named."""

import copy
import re

import numpy as np
import pandas as pd
import pytest
import torch

from recipes import base_recipe
from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble.candidate import Candidate
from rsna19_kedro.ensemble.combination import MeanCandidate
from rsna19_kedro.errors import ModelError
from rsna19_kedro.networks.checkpoint import Checkpoint, read_metadata
from rsna19_kedro.networks.made_from import (
    PATIENTS,
    check_folds_alike,
    check_held_out,
    check_models_fit,
    describe_training,
    hashed_patients,
)
from rsna19_kedro.networks.network_input import centre_crop
from rsna19_kedro.networks.zoo import ZOO


def _made(model: str = "resnet18_400", lut: float | None = 0.0, seed: int = 0, flip: bool = False):
    labels = pd.DataFrame(
        {"sop_instance_uid": ["a", "b"], "fold": [0, 1], **dict.fromkeys(CLASSES, 0)}
    )
    labels.loc[0, "any"] = int(flip)
    recipe = base_recipe(model, seed=seed).model_dump(mode="json")
    weights = {"w": np.full(3, seed, np.float32)}
    table = None if lut is None else np.full(1401, lut, np.float32)
    return describe_training(recipe, table, {"folds": labels}, weights)


def test_patients_of_the_held_out_fold_are_counted() -> None:
    rows = pd.DataFrame({"patient_id": ["a", "a", "b", "c"]})
    recorded = hashed_patients(["b", "c", "d", "b"], salt="s")
    assert len(recorded["hashes"]) == 3
    assert not {"b", "c", "d"} & set(recorded["hashes"])
    with pytest.raises(ModelError, match=r"resnet18_400, fold 2: .*2 of the 3 patients of fold 2"):
        check_held_out({"fold": 2, PATIENTS: recorded}, "resnet18_400", 2, rows)
    check_held_out({"fold": 2, PATIENTS: recorded}, "resnet18_400", 2, rows[:2])
    with pytest.raises(ModelError, match="for fold 2 is that of fold 3"):
        check_held_out({"fold": 3, PATIENTS: recorded}, "resnet18_400", 2, rows[:2])


def test_folds_of_different_recipes_are_refused() -> None:
    check_folds_alike("m", {0: _made(), 1: _made(), 2: None})
    with pytest.raises(ModelError, match=r"m were not .*folds 0 and 3 differ in recipe.seed 0 and"):
        check_folds_alike("m", {0: _made(), 3: _made(seed=1)})
    with pytest.raises(ModelError, match="hu_lut"):
        check_folds_alike("m", {0: _made(), 3: _made(lut=0.5)})
    with pytest.raises(ModelError, match=re.escape("labels.folds")):
        check_folds_alike("m", {0: _made(), 3: _made(flip=True)})


def test_models_of_different_tables_are_refused() -> None:
    other = "clf2Dc_resnet34_3c"
    check_models_fit([_made(), _made(other), None])
    with pytest.raises(ModelError, match=rf"resnet18_400 and {other} .* look-up table"):
        check_models_fit([_made(), _made(other, lut=0.5)])
    with pytest.raises(ModelError, match="label table folds"):
        check_models_fit([_made(), _made(other, flip=True)])
    check_models_fit([_made(), _made(other, flip=True)], same_labels=False)


def test_models_with_windows_do_not_depend_on_the_table() -> None:
    made = _made("maxvit_tiny_384", lut=None)
    check_models_fit([_made(lut=0.5), made])
    check_folds_alike("m", {0: made, 1: _made("maxvit_tiny_384", lut=None)})


def test_a_key_that_an_earlier_version_did_not_have_equals_null() -> None:
    earlier, made = _made(), _made()
    assert earlier["recipe"]["input"].pop("windows", "missing") is None
    check_folds_alike("m", {0: earlier, 1: made})
    made["recipe"]["input"]["windows"] = [[40, 80]]
    with pytest.raises(ModelError, match=r"recipe.input.windows nothing and \[\[40, 80\]\]"):
        check_folds_alike("m", {0: earlier, 1: made})


def test_second_level_of_other_networks_is_refused() -> None:
    candidate: Candidate = MeanCandidate(models=("m",))
    candidate.trained_on = {"m": {"0": "x", "1": "y"}}
    candidate.check_members({"m": {"1": "y"}})
    with pytest.raises(ModelError, match="an earlier m, fold 1"):
        candidate.check_members({"m": {"0": "x", "1": "z"}})


def test_slices_smaller_than_the_crop_are_refused() -> None:
    assert centre_crop(torch.zeros(2, 8, 8), 6).shape == (2, 6, 6)
    with pytest.raises(ModelError, match=r"crops slices to 9 x 9 .*only 8 x 8.*crop_size_px"):
        centre_crop(torch.zeros(2, 8, 8), 9)


def test_checkpoints_of_equal_content_are_equal_files(tmp_path) -> None:
    weights = {name: torch.arange(4.0) for name in ("b", "a", "c")}
    metadata = {"fold": 1, "recipe": {"z": 1, "a": [1, 2]}}
    contents = set()
    for number in range(5):
        path = tmp_path / f"{number}.safetensors"
        items = list(weights.items()) if number % 2 else list(weights.items())[::-1]
        Checkpoint(
            ZOO["resnet18_400"], dict(items), torch.zeros(1401), 400, 400, copy.deepcopy(metadata)
        ).write(path)
        contents.add(path.read_bytes())
        assert read_metadata(path) == metadata
    assert len(contents) == 1
