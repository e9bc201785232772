"""Execution of one node in a worker process, with its hooks, logs and devices."""

import functools
import logging
import os
import pickle
import resource
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rsna19_kedro.commands import SessionOptions, note_session
from rsna19_kedro.errors import input_error
from rsna19_kedro.progress import Line, report_progress_to
from rsna19_kedro.threads import share_cores

# Sends a message to the main process: the node, ``run`` or ``log``, and the content.
Send = Callable[[tuple[str, str, Any]], None]


@dataclass(frozen=True)
class Setup:
    """Facts about the run that a worker needs, sent with each node.

    Attributes:
        package: Python package of the Kedro project; ``None`` outside of a project.
        project: Folder of the project; becomes the working directory if the worker has it.
        paths: Module search path of the main process.
        levels: Loggers of the main process and their levels.
        run_id: Kedro's name of the run.
        is_async: Kedro's option to load and save in threads.
        wait: Whether to wait for results that another run is making.
        since: See ``work.Work``.
        session: Options of the session, for the commands that messages suggest.
    """

    package: str | None
    project: str
    paths: tuple[str, ...]
    levels: tuple[tuple[str, int], ...]
    run_id: str | None
    is_async: bool
    wait: bool = True
    since: str = "9"
    session: SessionOptions = field(default_factory=SessionOptions)


@dataclass
class NodeRun:
    """One try of a node: what it needs, where it runs and how it ended.

    Attributes:
        node: Its name.
        kind: The tag that determines its cost, or ``other``.
        gpus: Number of GPUs, or the share of one; 0 for a CPU slot.
        cost: Estimated duration in arbitrary units; only comparisons matter.
        retries: Number of earlier tries whose worker died.
        outcome: ``running``, ``done``, ``failed`` or ``killed``; empty before the start.
        start: Seconds since 1970; on the worker's clock once the node has started.
        end: See ``start``.
        host: Name of the machine; empty before the start.
        worker: Process ID of the worker; 0 before the start.
        device: ``gpu 1``, or ``cpu``; empty before the start.
        peak_mb: Peak memory of the worker during the node, in MB, without its child processes.
        error: Message of an error that the user can fix, or type and message of any other; empty
            if there was none.
        trace: The traceback, unless the user can fix the error.
        line: Its progress; ``None`` if it reports none.
    """

    node: str
    kind: str
    gpus: float
    cost: float
    retries: int = 0
    outcome: str = ""
    start: float = 0.0
    end: float = 0.0
    host: str = ""
    worker: int = 0
    device: str = ""
    peak_mb: float = 0.0
    error: str = ""
    trace: str = ""
    line: Line | None = None

    @property
    def slot(self) -> str:
        """Kind of slot that it occupies: ``gpu`` or ``cpu``."""
        return "gpu" if self.gpus else "cpu"


def run_node(setup: Setup, run: NodeRun, payload: list[bytes], send: Send) -> NodeRun:
    """Run one node.

    Args:
        setup: Facts about the run.
        run: Name of the node and its devices.
        payload: See ``pool.pack``.
        send: Sends messages to the main process.

    Returns:
        ``run``, completed; an error of the node is stored in it, not raised.
    """
    _prepare_process(setup, bool(run.gpus))
    begun = {
        "start": time.time(),
        "host": socket.gethostname(),
        "worker": os.getpid(),
        "device": f"gpu {os.environ.get('CUDA_VISIBLE_DEVICES', '?')}" if run.gpus else "cpu",
    }
    vars(run).update(begun)
    send((run.node, "run", begun))
    _reset_peak()
    relay = _Relay(run.node, send)
    logging.getLogger().addHandler(relay)
    report_progress_to(relay.progress)
    try:
        _execute(setup, payload)
        run.outcome = "done"
    except Exception as error:
        reason = input_error(error)
        run.outcome, run.error = "failed", str(reason or f"{type(error).__name__}: {error}")
        if reason is None:
            run.trace = traceback.format_exc()
    finally:
        report_progress_to(None)
        logging.getLogger().removeHandler(relay)
    run.end, run.peak_mb = time.time(), round(_peak_mb(), 1)
    return run


def _execute(setup: Setup, payload: list[bytes]) -> None:
    from kedro.io import DataCatalog
    from kedro.pipeline import Pipeline
    from kedro.runner import Task

    from rsna19_kedro.runners.reuse import Reuse
    from rsna19_kedro.runners.run_locks import locked_results
    from rsna19_kedro.runners.work import Work

    node, *datasets = map(pickle.loads, payload)
    hooks = _hook_manager(setup.package)
    catalog = DataCatalog(datasets=dict(datasets))
    with locked_results(node, catalog, wait=setup.wait):
        if Work(Pipeline([node]), Reuse(catalog), since=setup.since).is_unchanged(node):
            logging.getLogger("rsna19_kedro.runs").info("Using the results of the other run")
            return
        Task(node, catalog, setup.is_async, hook_manager=hooks, run_id=setup.run_id).execute()


@functools.cache
def _hook_manager(package: str | None) -> Any:
    """Hook manager of this process, without the hooks that belong to the main process."""
    # Kedro has no public API for hook managers; its ParallelRunner uses the same functions, but
    # registers all hooks.
    from kedro.framework.hooks.manager import (
        _create_hook_manager,
        _register_hooks,
        _register_hooks_entry_points,
    )
    from kedro.framework.project import settings

    manager = _create_hook_manager()
    if package is not None:
        hooks = [hook for hook in settings.HOOKS if not getattr(hook, "IN_MAIN_PROCESS", False)]
        _register_hooks(manager, hooks)
        _register_hooks_entry_points(manager, settings.DISABLE_HOOKS_FOR_PLUGINS)
    return manager


@functools.cache
def _prepare_process(setup: Setup, has_gpu: bool) -> None:
    """Set folder, search path, Kedro's settings and logging, once per process."""
    if not has_gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # A node is one process, but Lightning would count the tasks of a SLURM job.
    os.environ.pop("SLURM_NTASKS", None)
    if Path(setup.project).is_dir():
        os.chdir(setup.project)
    share_cores()
    note_session(setup.session)
    sys.path.extend(path for path in setup.paths if path not in sys.path)
    if setup.package is not None:
        from kedro.framework.project import configure_project

        configure_project(setup.package)
    logging.getLogger().handlers.clear()
    for name, level in setup.levels:
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)


class _Relay(logging.Handler):
    """Sends the log and the progress of a node to the main process."""

    def __init__(self, node: str, send: Send) -> None:
        super().__init__()
        self._node, self._send = node, send
        self._last = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)  # Message and traceback.
            self._send((self._node, "log", (record.name, record.levelno, text)))
        except Exception:
            self.handleError(record)

    def progress(self, line: Line) -> None:
        """Send the progress, at most once per second."""
        if time.monotonic() - self._last >= 1:
            self._last = time.monotonic()
            self._send((self._node, "run", {"line": line}))


def _reset_peak() -> None:
    """Reset the peak memory on Linux; elsewhere it counts from the start of the process."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
