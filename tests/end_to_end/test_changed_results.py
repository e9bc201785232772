"""Results updated after a change equal those of a clean run.

All changes: ``python benchmarks/reuse_after_changes.py``.
"""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from .conftest import ROOT, run_session

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location(
        "reuse_after_changes", ROOT / "benchmarks" / "reuse_after_changes.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    before = Path.cwd()
    yield module
    os.chdir(before)


@pytest.mark.parametrize(
    ("name", "at_once"),
    [
        pytest.param("out-of-fold predictions deleted", False, marks=pytest.mark.exhaustive),
        ("checkpoints of two folds swapped", True),
        pytest.param("a mask added", False, marks=pytest.mark.exhaustive),
        ("clip_stacked", False),
        ("08_reporting emptied", True),
    ],
)
def test_equal_to_a_clean_run(
    project_copy: Path,
    finished_project: Path,
    tmp_path: Path,
    script: ModuleType,
    name: str,
    at_once: bool,
) -> None:
    change = script.CHANGES[name]
    script.bring_up_to_date(change, project_copy, at_once=at_once)
    clean = finished_project
    if change.params:  # Only the second level is affected.
        clean = script.copy_of(finished_project, tmp_path / "clean")
        run_session(clean, pipeline_names=["stacking"], runtime_params=dict(change.params))
    assert script.differing(project_copy, clean) == []
    assert script.contents(clean)
