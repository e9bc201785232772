"""Copies of the project to run in, and one finished project shared by all test workers."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
import traceback
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from kedro.framework.cli.cli import KedroCLI
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from rsna19_kedro.runners import GPURunner

ROOT = Path(__file__).resolve().parents[2]

PIPELINES = (
    *("phantoms", "ingestion", "volume_prep", "folds"),
    *("cnn_training", "inference", "stacking", "reporting"),
)
"""In an order in which each finds its inputs."""


def copy_project(target: Path) -> Path:
    """Copy the configuration and make empty data folders; the package itself is installed."""
    shutil.copytree(ROOT / "conf", target / "conf")
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(ROOT / name, target)
    (target / "src" / "rsna19_kedro").mkdir(parents=True)
    for layer in ROOT.glob("data/0*"):
        (target / "data" / layer.name).mkdir(parents=True)
    return target


def copy_finished(source: Path, target: Path) -> Path:
    """Copy a project after a run; hard-link its checkpoints (1 GB).

    Checkpoints are only replaced as whole files, so the original does not change.
    """

    def copy(origin: str, copied: str) -> str:
        if origin.endswith(".safetensors"):
            os.link(origin, copied)
            return copied
        return str(shutil.copy2(origin, copied))

    shutil.copytree(source, target, copy_function=copy)
    return target


def run_session(project: Path, runner: Any = None, **options: Any) -> Any:
    """Run one Kedro session in this process."""
    runtime_params = options.pop("runtime_params", None)
    before = Path.cwd()
    os.chdir(project)
    try:
        bootstrap_project(project)
        with KedroSession.create(
            project_path=project, env="test", runtime_params=runtime_params
        ) as session:
            return session.run(runner=runner or GPURunner(), **options)
    finally:
        os.chdir(before)


def saved_catalog(project: Path) -> CatalogProtocol:
    """The catalog of a project, as in ``kedro ipython``; load with the project as folder."""
    before = Path.cwd()
    os.chdir(project)
    try:
        bootstrap_project(project)
        with KedroSession.create(project_path=project, env="test") as session:
            return session.load_context().catalog
    finally:
        os.chdir(before)


def run_here(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``kedro run`` by Kedro's command line in this process, without importing again."""
    command = ["run", "--env", "test", *arguments]
    output, code = io.StringIO(), 0
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(output),
        redirect_stderr(output),
    ):
        patch.chdir(project)
        patch.setenv("COLUMNS", "200")
        patch.setattr(sys, "argv", ["kedro", *command])
        try:
            KedroCLI(project).main(args=command, prog_name="kedro")
        except SystemExit as ended:
            code = int(ended.code or 0)
        except Exception:
            traceback.print_exc()
            code = 1
    return subprocess.CompletedProcess(command, code, output.getvalue(), "")


def run_command(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``kedro run`` in a separate process."""
    return subprocess.run(
        [sys.executable, "-m", "kedro", "run", "--env", "test", *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )


def run_at_once(
    project: Path, first: tuple[str, ...], second: tuple[str, ...]
) -> list[subprocess.CompletedProcess[str]]:
    """Run ``kedro run`` twice in parallel.

    The first run has a process of its own; the second one begins in this process as soon as the
    first one runs its nodes.
    """
    log = project.parent / "first_run.txt"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "kedro", "run", "--env", "test", *first],
            cwd=project,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "COLUMNS": "200"},
        )
        deadline = time.monotonic() + 120
        while "Running in" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        other = run_here(project, *second)
        code = process.wait(timeout=400)
    return [subprocess.CompletedProcess(first, code, log.read_text(), ""), other]


class RecordingRunner(GPURunner):
    """Notes which nodes would run, and runs them only if ``execute`` is true."""

    def __init__(self, execute: bool = False) -> None:
        super().__init__()
        self.nodes: set[str] = set()
        self.execute = execute

    def _run(self, pipeline: Pipeline, *args: Any, **options: Any) -> None:
        self.nodes = {node.name for node in pipeline.nodes}
        if self.execute:
            super()._run(pipeline, *args, **options)


def planned_nodes(project: Path, **options: Any) -> set[str]:
    """Names of the nodes that a run would execute."""
    runner = RecordingRunner()
    run_session(project, runner, **options)
    return runner.nodes


def _build(project: Path) -> dict[str, Any]:
    """Run each pipeline in a separate session; return the nodes of each."""
    copy_project(project)
    ran: dict[str, Any] = {}
    for name in PIPELINES:
        runner = RecordingRunner(execute=True)
        try:
            run_session(project, runner, pipeline_names=[name])
        except Exception:
            return {"failed": f"{name} does not run alone:\n{traceback.format_exc()}"}
        ran[name] = sorted(runner.nodes)
    return ran


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    """A project in which each pipeline ran alone, and the nodes of each pipeline.

    The first pytest-xdist worker that needs it builds it; the others wait.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    project, note = shared / "finished", shared / "finished.json"
    with FileLock(shared / "finished.lock"):
        if not note.is_file():
            note.write_text(json.dumps(_build(project)))
    ran = json.loads(note.read_text())
    if "failed" in ran:
        pytest.fail(ran["failed"], pytrace=False)
    return project, ran


@pytest.fixture(scope="session")
def finished_project(build: tuple[Path, dict[str, list[str]]]) -> Path:
    """A project after an uninterrupted run in the test environment; must not be changed."""
    return build[0]


@pytest.fixture
def project_copy(finished_project: Path, tmp_path: Path) -> Path:
    """A copy of the finished project that a test may change."""
    return copy_finished(finished_project, tmp_path / "project")


@pytest.fixture
def empty_project(tmp_path: Path) -> Path:
    """A project without results."""
    return copy_project(tmp_path / "project")


@pytest.fixture(autouse=True)
def _fresh_registry() -> Any:
    """Reset the scope after each test."""
    from rsna19_kedro import context

    yield
    context._session_scope = None
    pipelines.configure("rsna19_kedro.pipeline_registry")
