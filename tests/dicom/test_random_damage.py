"""Random damage to files causes only errors for the user, and visible effects are reported."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "random_damage.py"

pytestmark = pytest.mark.slow


def test_twenty_rounds_of_random_damage() -> None:
    spec = importlib.util.spec_from_file_location("random_damage", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    random_damage = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(random_damage)
    outcomes, wrong = random_damage.run(20, seed=20)
    assert not wrong
    assert sum(outcomes.values()) >= 20
    assert any(outcome.endswith(": reported") for outcome in outcomes)
