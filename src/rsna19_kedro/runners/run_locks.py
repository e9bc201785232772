"""Concurrent runs in one project: each waits for results that another one is making."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock
from kedro.io import CatalogProtocol
from kedro.pipeline import Node
from kedro.utils import find_kedro_project

from rsna19_kedro.files import storage_errors
from rsna19_kedro.locks import Owner, held, lock_path, owner_of, owner_path, wait_until_free
from rsna19_kedro.runners.node_inputs import local_path

logger = logging.getLogger("rsna19_kedro.runs")


@contextmanager
def locked_results(node: Node, catalog: CatalogProtocol, *, wait: bool) -> Iterator[None]:
    """Wait until a node's inputs are finished, then hold the locks of its results in this block.

    Args:
        node: The node.
        catalog: Its datasets.
        wait: Whether to wait for other runs.

    Raises:
        LockedError: See ``locks.held``.
    """

    def say(result: Path, owner: Owner | None) -> None:
        logger.info(
            "%s waits for %s, held by %s", node.name, result.name, owner or "another process"
        )

    for path in _paths(node.inputs, catalog):
        wait_until_free(path, wait=wait, waits_for=say)
    with held(_paths(node.outputs, catalog), wait=wait, waits_for=say):
        yield


def _paths(names: list[str], catalog: CatalogProtocol) -> list[Path]:
    paths = [local_path(catalog[name]) for name in names if name in catalog]
    return [path for path in paths if path is not None]


@contextmanager
def registered(project: Path | None) -> Iterator[list[Owner]]:
    """Register this run in a project as long as this block lasts.

    Args:
        project: Its folder; ``None`` outside of a project, where nothing is registered.

    Yields:
        The other runs that were active when the block began.
    """
    if project is None:
        yield []
        return
    folder = project / "data" / ".runs"
    others = other_runs(project)
    owner = Owner.of_this_process()
    run = folder / f"{owner.host}-{owner.process}"
    lock = FileLock(lock_path(run))
    with storage_errors(lock_path(run)):
        folder.mkdir(exist_ok=True)
        lock.acquire()
    try:
        owner.write(owner_path(run))
        yield others
    finally:
        with suppress(OSError):
            owner_path(run).unlink(missing_ok=True)
            lock_path(run).unlink(missing_ok=True)
        lock.release()


def other_runs(project: Path) -> list[Owner]:
    """List the other active runs of a project; remove the files of dead ones."""
    this = Owner.of_this_process()
    others = []
    for path in sorted((project / "data" / ".runs").glob(".*.owner.json")):
        run = path.parent / path.name.removesuffix(".owner.json")[1:]
        owner = owner_of(run)
        if owner is None:
            path.unlink(missing_ok=True)
            lock_path(run).unlink(missing_ok=True)
        elif (owner.process, owner.host) != (this.process, this.host):
            others.append(owner)
    return others


def current_project() -> Path | None:
    """Folder of the project that this process works in; ``None`` outside of one."""
    project = find_kedro_project(Path.cwd())
    return project if project is not None and (project / "data").is_dir() else None
