"""The models and folds of a session."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from recipes import CONF
from rsna19_kedro.ensemble.features import window_features
from rsna19_kedro.ensemble.level1 import FirstLevel
from rsna19_kedro.ensemble.settings import WindowOptions
from rsna19_kedro.errors import InputError
from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.pipelines import cnn_training, inference, stacking
from rsna19_kedro.scope import check_runtime_params, resolve_scope

pipelines = {"cnn_training": cnn_training, "inference": inference, "stacking": stacking}
GLOBALS = {
    "models": ["clf2Dc_resnet34_3c", "resnet18_400"],
    "folds": [0, 1, 2, 3, 4],
    "phantoms": True,
}


def test_globals_alone_give_everything() -> None:
    scope = resolve_scope(GLOBALS)
    assert scope.models == ("resnet18_400", "clf2Dc_resnet34_3c")
    assert scope.folds == (0, 1, 2, 3, 4)
    assert scope.complete
    assert scope.phantoms


@pytest.mark.parametrize("given", [2, "2"])
def test_fold_selects_one_fold(given: object) -> None:
    scope = resolve_scope(GLOBALS, {"fold": given})
    assert scope.folds == (2,)
    assert not scope.complete


def test_lists_of_folds_and_models() -> None:
    scope = resolve_scope(GLOBALS, {"fold": "2,0", "models": "resnet18_400"})
    assert (scope.folds, scope.models) == ((0, 2), ("resnet18_400",))


def test_all_means_the_eleven_models_of_the_second_level() -> None:
    """The two 3c baselines only initialise others: 11 models x 5 slices x 6 classes."""
    scope = resolve_scope(GLOBALS, {"models": "all"})
    assert scope.ancestors == ("clf2Dc_resnet34_3c", "clf2Dc_resnet50_3c_384")
    assert scope.models == tuple(n for n in ZOO if ZOO[n].reference and n not in scope.ancestors)
    nodes = {
        name: {node.namespace for node in pipelines[name].create_pipeline(scope).nodes}
        for name in pipelines
    }
    assert len(nodes["cnn_training"]) == 13 * 5
    assert len(nodes["inference"]) == 11 * 5
    tables = pipelines["stacking"].create_pipeline(scope).inputs()
    assert sum(name.endswith(".oof") for name in tables) == 11 * 5
    candidates = OmegaConf.load(CONF / "base/parameters/stacking.yml").stacking.candidates
    options = WindowOptions(radius=candidates.simplex.radius)
    predictions = np.zeros((3, len(scope.models), 6), np.float32)
    level = FirstLevel(scope.models, predictions, np.zeros(3, int), np.arange(3))
    assert window_features(level, options).shape == (3, 330)


def test_a_model_that_only_initialises_others_may_be_requested() -> None:
    scope = resolve_scope(GLOBALS, {"models": "clf2Dc_resnet34_3c,clf2Dc_resnet34_3x3"})
    assert scope.models == ("clf2Dc_resnet34_3c", "clf2Dc_resnet34_3x3")
    assert scope.ancestors == ()


def test_a_download_replaces_phantoms() -> None:
    assert not resolve_scope(GLOBALS, {"raw_dir": "somewhere"}).phantoms


@pytest.mark.parametrize("fold", [7, "7", -1, "two", "0,7"])
def test_unknown_fold_names_the_valid_ones(fold: object) -> None:
    with pytest.raises(InputError, match="the folds are 0, 1, 2, 3, 4"):
        resolve_scope(GLOBALS, {"fold": fold})


def test_unknown_model_gets_a_suggestion() -> None:
    with pytest.raises(InputError, match=r"resnet18_40'\. Did you mean 'resnet18_400'"):
        resolve_scope(GLOBALS, {"models": "resnet18_40"})


def test_misspelt_runtime_parameter_gets_a_suggestion() -> None:
    with pytest.raises(InputError, match=r"'fodl'.*Did you mean 'fold'"):
        check_runtime_params({"fodl": 2}, ["stacking"])


def test_known_runtime_parameters_are_accepted() -> None:
    check_runtime_params({"fold": 2, "raw_dir": "x", "stacking": {"a": 1}}, ["stacking"])


def test_every_runtime_parameter_of_the_configuration_is_accepted() -> None:
    text = "".join(path.read_text() for path in (CONF / "base").rglob("*.yml"))
    keys = set(re.findall(r"\$\{runtime_params:(\w+)", text))
    assert {"source", "slab_mm", "raw_dir"} <= keys
    check_runtime_params(dict.fromkeys(keys), [])


@pytest.mark.parametrize("folder", [".", "src", "src/rsna19_kedro/ct"])
def test_commands_without_a_session_find_the_project_from_a_subfolder(folder: str) -> None:
    root = Path(__file__).resolve().parents[1]
    result = subprocess.run(
        [sys.executable, "-m", "kedro", "registry", "list"],
        cwd=root / folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert {"- __default__", "- stacking", "- reporting"} <= set(result.stdout.splitlines())
