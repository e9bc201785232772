"""Results of a project that are up to date, out of date, or unused."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import CatalogProtocol
from kedro.pipeline import Node

from rsna19_kedro.context import current_scope
from rsna19_kedro.errors import ParameterError
from rsna19_kedro.hooks.earlier_results import read_note, source_note, source_of
from rsna19_kedro.locks import lock_path, owner_of, owner_path
from rsna19_kedro.provenance.listed_files import list_path
from rsna19_kedro.provenance.plan import Plan, State
from rsna19_kedro.provenance.record import record_path
from rsna19_kedro.runners.node_inputs import local_path
from rsna19_kedro.runners.reuse import Reuse

_SEARCHED: Final = ("02", "03", "04", "05", "06", "07", "08")
_KEPT: Final = (
    *("new_study", "logs", "detectors", ".gitkeep", "source.json"),
    *("schedule.parquet", "schedule.png"),
)
"""Files that no node of the default pipeline makes, but that are needed."""

_WORK: Final = ("resume", "tensorboard", "oof_parts", "test_parts")
"""Folders of unfinished work and of TensorBoard logs, in the folder of a model and fold."""


def project_plan(
    project: Path,
    env: str | None = None,
    params: dict[str, Any] | None = None,
    *,
    pipeline: str = "__default__",
    with_files: bool = True,
) -> Plan:
    """Determine for each node of a project whether its results are up to date; changes nothing.

    Args:
        project: Folder of the project.
        env: Its environment; ``None`` for the default.
        params: Parameters as for ``--params``.
        pipeline: Name of the pipeline.
        with_files: Whether to check the raw data too.
    """
    with _catalog(project, env, params) as catalog:
        nodes = {node.name: node for node in pipelines[pipeline].nodes}
        plan = Reuse(catalog, with_files=with_files).plan(pipelines[pipeline])
        return Plan(
            tuple(
                replace(node_plan, running=_running(nodes[node_plan.node], catalog))
                for node_plan in plan.nodes
            ),
            _other_source(catalog, project, env),
        )


def _other_source(catalog: CatalogProtocol, project: Path, env: str | None) -> str:
    """Say so if the stored results are of other raw data or another environment."""
    now = source_of(catalog, project, env or os.getenv("KEDRO_ENV"))
    noted = read_note(source_note(catalog, project)) or now
    for key in ("environment", "raw_dir"):
        if noted[key] != now[key]:
            return f"data/ holds results of {key} {noted[key]}; you asked about {now[key]}."
    return ""


def _refuse_other_source(catalog: CatalogProtocol, project: Path, env: str | None) -> None:
    other = _other_source(catalog, project, env)
    if other:
        raise ParameterError(f"{other} Give the same --env and --params as the run that made them.")


def _running(node: Node, catalog: CatalogProtocol) -> str:
    """Owner of the run that is making a node's results now; empty if there is none."""
    paths = (local_path(catalog[name]) for name in node.outputs if name in catalog)
    owners = (owner_of(path) for path in paths if path is not None and owner_path(path).exists())
    return next((str(owner) for owner in owners if owner is not None), "")


def outdated_paths(
    project: Path, env: str | None = None, params: dict[str, Any] | None = None
) -> list[Path]:
    """List the paths of the results that are out of date.

    Raises:
        ParameterError: The stored results are of other raw data or another environment.
    """
    with _catalog(project, env, params) as catalog:
        _refuse_other_source(catalog, project, env)
        pipeline = pipelines["__default__"]
        plan = Reuse(catalog).plan(pipeline)
        names = {node.node for node in plan.of(State.OUT_OF_DATE)}
        outputs = [name for node in pipeline.nodes if node.name in names for name in node.outputs]
        paths = [local_path(catalog[name]) for name in outputs if name in catalog]
        return [project / path for path in paths if path is not None and (project / path).exists()]


def orphan_paths(
    project: Path, env: str | None = None, params: dict[str, Any] | None = None
) -> list[Path]:
    """List the paths below ``data`` that no node makes or uses, such as those of removed models.

    Raw data and the results of new studies are never listed.

    Raises:
        ParameterError: The stored results are of other raw data or another environment.
    """
    with _catalog(project, env, params) as catalog:
        _refuse_other_source(catalog, project, env)
        names = pipelines["__default__"].datasets() | pipelines["phantoms"].datasets()
        paths = [local_path(catalog[name]) for name in names if name in catalog]
        scope = current_scope()
    results = {project / path for path in paths if path is not None}
    companions = {file for path in results if path.exists() for file in _companions(path)}
    work = {
        project / "data" / layer / model / f"fold_{fold}" / name
        for layer in ("06_models", "07_model_output")
        for model in (*scope.models, *scope.ancestors)
        for fold in scope.folds
        for name in _WORK
    }
    layers = [
        path for path in sorted((project / "data").glob("[0-9]*_*")) if path.name[:2] in _SEARCHED
    ]
    known = results | companions | work
    parents = {parent for path in known for parent in path.parents}
    return [path for layer in layers for path in _unknown(layer, known, parents)]


def _unknown(folder: Path, known: set[Path], parents: set[Path]) -> Iterator[Path]:
    """Paths that are neither known nor parents of known paths."""
    for path in sorted(folder.iterdir()):
        if path in known or path.name in _KEPT:
            continue
        if path in parents and path.is_dir():
            yield from _unknown(path, known, parents)
        else:
            yield path


def _companions(result: Path) -> tuple[Path, ...]:
    """Hidden files that belong to a result."""
    return record_path(result), list_path(result), lock_path(result), owner_path(result)


@contextmanager
def _catalog(
    project: Path, env: str | None, params: dict[str, Any] | None
) -> Iterator[CatalogProtocol]:
    bootstrap_project(project)
    with KedroSession.create(project_path=project, env=env, runtime_params=params) as session:
        assert isinstance(session, KedroSession)
        yield session.load_context().catalog
