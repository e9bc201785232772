"""Parsing of --params, and messages for invalid parameters."""

from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from kedro.validation.exceptions import ParameterValidationError
from pydantic import ValidationError

from rsna19_kedro.cli import _params_callback, run
from rsna19_kedro.cli_errors import error_message
from rsna19_kedro.cli_params import normalise_params
from rsna19_kedro.prediction.settings import PredictionSettings
from rsna19_kedro.scope import GLOBAL_KEYS, NEW_STUDY_KEYS, REUSE_KEYS, SCOPE_KEYS

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("fold:2", "fold=2"),
        ("fold=2", "fold=2"),
        ("fold:0,2", "fold=0,2"),
        ("models:a,b,fold:2", "models=a,b\nfold=2"),
        ("raw_dir=C:/data", "raw_dir=C:/data"),
        ("raw_dir:/data/a:b", "raw_dir=/data/a:b"),
        ("stacking.window:3, seed=1", "stacking.window=3\nseed=1"),
        ("", ""),
    ],
)
def test_both_forms_are_equivalent(given: str, expected: str) -> None:
    assert normalise_params(given) == expected


def test_values_are_typed_nested_and_kept_together() -> None:
    ctx = click.Context(run)
    option = next(p for p in run.params if p.name == "params")
    given = "fold:2,models:a,b,stacking.window:3,stacking.rate=0.5"
    assert _params_callback(ctx, option, given) == {
        "fold": 2,
        "models": "a,b",
        "stacking": {"window": 3, "rate": 0.5},
    }


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("fold:0,2", {"fold": "0,2"}),
        ("stacking.seed:3,stacking.names:a,b", {"stacking": {"seed": 3, "names": "a,b"}}),
        ("a: 1.5 , b:true,c:null,d:1e-3", {"a": 1.5, "b": True, "c": None, "d": 0.001}),
        ("seed:1,seed:2", {"seed": 2}),
        ("source=C:/x,y", {"source": "C:/x,y"}),
        ("source=/x=y", {"source": "/x=y"}),
        ("a:", {"a": None}),
        ("", {}),
        (None, {}),
        ({"fold": 2}, {"fold": 2}),
    ],
)
def test_values_have_the_same_types_as_in_kedro(given: Any, expected: dict) -> None:
    option = next(p for p in run.params if p.name == "params")
    assert _params_callback(click.Context(run), option, given) == expected


@pytest.mark.parametrize(
    "name",
    ["a,b", "a,b=c", "a, b:1,c", "x=y", "a #1", "Sch\u00e4del CT", "it's: {odd} [1]"],
)
def test_paths_may_contain_any_character(tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    source.mkdir()
    option = next(p for p in run.params if p.name == "params")
    given = f"fold:0,2,source={source},fast=true"
    parsed = _params_callback(click.Context(run), option, given)
    assert parsed == {"fold": "0,2", "source": str(source), "fast": True}


@pytest.mark.parametrize(
    "given",
    ["a:1,b=x,c.d:2.5", "a=true,b=off,c=~", "a.b=1,a.c=2", "x=0x10,y=1_000,z=010", "p=/a:b,q=a b"],
)
def test_parameters_without_lists_are_parsed_as_by_kedro(given: str) -> None:
    from kedro.framework.cli.utils import _split_params  # Private; the reference of this test.

    option = next(p for p in run.params if p.name == "params")
    ctx = click.Context(run)
    expected = _split_params(ctx, option, normalise_params(given).replace("\n", ","))
    assert _params_callback(ctx, option, given) == expected


@pytest.mark.parametrize("given", ["fold", "fold,models:a", ":2", "=2", "source:[a", "source:{a"])
def test_unreadable_parameters_are_refused(given: str) -> None:
    ctx = click.Context(run)
    option = next(p for p in run.params if p.name == "params")
    with pytest.raises(click.UsageError, match="--params"):
        _params_callback(ctx, option, given)


def test_item_without_a_value_is_refused() -> None:
    ctx = click.Context(run)
    option = next(p for p in run.params if p.name == "params")
    with pytest.raises(click.UsageError, match="fold"):
        _params_callback(ctx, option, "fold")


def test_misspelt_key_of_a_parameter_is_named_in_one_line() -> None:
    with pytest.raises(ValidationError) as caught:
        PredictionSettings(precison="bf16", batch_slices=0)
    text = "Parameter validation failed:\n- Parameter 'prediction': Failed to instantiate "
    message = error_message(ParameterValidationError(f"{text}PredictionSettings: {caught.value}"))
    assert (
        "  prediction.precison: unknown key. Did you mean 'precision'? (given: 'bf16')" in message
    )
    assert "  prediction.batch_slices: Input should be greater than 0 (given: 0)" in message
    assert "pydantic.dev" not in message
    assert "conf/base/parameters" in message
    several = f"{text}PredictionSettings: {caught.value}\n- Parameter 'x': value is None"
    assert "  x: value is None" in error_message(ParameterValidationError(several))
    other = ParameterValidationError("something else")
    assert error_message(other) == "something else"


def test_help_lists_every_parameter_of_the_command_line() -> None:
    text = CliRunner().invoke(run, ["--help"]).output
    for key, meaning in (SCOPE_KEYS | GLOBAL_KEYS | NEW_STUDY_KEYS | REUSE_KEYS).items():
        assert f"{key:<13} {meaning}" in text
    assert text.count("    kedro run ") == 5
    assert all(len(line) <= 80 for line in text.splitlines())


def test_control_parameters_of_the_help_exist() -> None:
    given = yaml.safe_load((ROOT / "conf/base/parameters/reuse.yml").read_text())
    assert set(given) == set(REUSE_KEYS)
    new_study = yaml.safe_load((ROOT / "conf/base/parameters/new_study.yml").read_text())
    assert set(NEW_STUDY_KEYS) - {"output"} <= set(new_study["new_study"])
