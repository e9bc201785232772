"""Full, read-only or missing disks: a clear message, no lost files, and the run resumes."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import run_here

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

ONLY = "--only-missing-outputs"


def _mount(folder: Path, options: str) -> bool:
    return (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
            capture_output=True,
            check=False,
        ).returncode
        == 0
    )


@contextmanager
def _small_disk(folder: Path, size: str) -> Iterator[None]:
    """Mount an empty disk of this size at a folder."""
    shutil.rmtree(folder)
    folder.mkdir()
    if not _mount(folder, f"size={size}"):
        pytest.skip("mounting a tmpfs needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _tables(project: Path) -> dict[str, bytes]:
    data = project / "data"
    return {
        str(path.relative_to(data)): path.read_bytes()
        for path in sorted(data.glob("0[2378]*/**/[!.]*.parquet"))
    }


def _assert_no_parts(project: Path) -> None:
    assert not list((project / "data").rglob(".part-*"))


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        ("02_intermediate", "16k"),
        ("03_primary", "200k"),
        pytest.param("06_models", "60m", marks=pytest.mark.exhaustive),
        pytest.param("07_model_output", "64k", marks=pytest.mark.exhaustive),
        ("08_reporting", "300k"),
    ],
)
def test_full_disk(project_copy: Path, finished_project: Path, layer: str, size: str) -> None:
    folder = project_copy / "data" / layer
    with _small_disk(folder, size):
        run = run_here(project_copy, ONLY)
        assert run.returncode == 1, run.stdout
        assert "Traceback" not in run.stdout
        message = run.stdout[run.stdout.rindex("Error in ") :]
        assert "no space is left on the disk" in message
        assert layer in message
        _assert_no_parts(project_copy)
        subprocess.run(["mount", "-o", "remount,size=2g", str(folder)], check=True)
        again = run_here(project_copy, ONLY)
        assert again.returncode == 0, again.stdout
        assert _tables(project_copy) == _tables(finished_project)


def test_read_only_data(project_copy: Path) -> None:
    data = project_copy / "data"
    before = _tables(project_copy)
    bind = ["mount", "--bind", str(data), str(data)]
    if subprocess.run(bind, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs root")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(data)], check=True)
        run = run_here(project_copy, "--pipelines", "reporting")
        assert run.returncode == 1
        assert "Traceback" not in run.stdout
        assert "the disk is read-only. Mount it for writing" in run.stdout
    finally:
        subprocess.run(["umount", str(data)], check=True)
    assert _tables(project_copy) == before


def test_models_on_a_disk_that_was_removed(project_copy: Path) -> None:
    models = project_copy / "data" / "06_models"
    models.rename(project_copy / "elsewhere")
    models.mkdir()  # An unmounted mount point.
    run = run_here(project_copy, "--pipelines", "inference", "--params", "fold:0")
    assert run.returncode == 1
    assert "Traceback" not in run.stdout
    assert f"{models} is empty or missing" in run.stdout
    assert "mount that disk again" in run.stdout


def test_few_open_files(project_copy: Path) -> None:
    """With the limit of some batch systems, the run succeeds or names the limit."""
    shutil.rmtree(project_copy / "data" / "08_reporting")
    command = f"ulimit -n 64; exec {sys.executable} -m kedro run --env test {ONLY}"
    run = subprocess.run(
        ["bash", "-c", command],
        cwd=project_copy,
        capture_output=True,
        text=True,
        check=False,
        timeout=400,
        env={**os.environ, "COLUMNS": "200"},
    )
    text = run.stdout + run.stderr
    assert "Traceback" not in text
    if run.returncode:
        assert "too many open files (limit 64)" in text


def test_removed_layers_are_made_again(empty_project: Path) -> None:
    for layer in (empty_project / "data").glob("0[2-8]*"):
        layer.rmdir()
    run = run_here(empty_project, "--pipelines", "phantoms,ingestion")
    assert run.returncode == 0, run.stdout
    assert (empty_project / "data/02_intermediate/source.json").is_file()
