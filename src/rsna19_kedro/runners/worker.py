"""What runs in a worker process: one node, with the hooks, logs and devices that belong to it."""

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsna19_kedro.errors import InputError, causes
from rsna19_kedro.parallel import report_progress_to

# Takes a message for the main process: the node, ``run`` or ``log``, and the content.
Send = Callable[[tuple[str, str, Any]], None]


@dataclass(frozen=True)
class Setup:
    """What a worker must know of the run, sent along with each node.

    Attributes:
        package: Python package of the Kedro project; ``None`` outside of a project.
        project: Folder of the project; a worker that has it works in it.
        paths: The search path of the main process.
        levels: Loggers of the main process and their levels.
        run_id: Kedro's name of the run.
        is_async: Kedro's option to load and save in threads.
        wait: Whether to wait for results that another run is making.
        since: See ``work.Work``.
    """

    package: str | None
    project: str
    paths: tuple[str, ...]
    levels: tuple[tuple[str, int], ...]
    run_id: str | None
    is_async: bool
    wait: bool = True
    since: str = "9"


@dataclass
class NodeRun:
    """One try of a node: what it needs, where it runs and how it ended.

    Attributes:
        node: Its name.
        kind: The node's tag that its cost was given for, or ``other``.
        gpus: GPUs or a share of one; 0 for a CPU slot.
        cost: Length in arbitrary units; only comparisons count.
        retries: Tries before this one whose worker died.
        outcome: ``running``, ``done``, ``failed`` or ``killed``; empty before it is started.
        start: Seconds since 1970; once it has begun, on the worker's clock.
        end: See ``start``.
        host: Name of the machine; empty until it has begun.
        worker: Number of the worker process; 0 until it has begun.
        device: ``gpu 1``, or ``cpu``; empty until it has begun.
        peak_mb: Most memory that the worker held meanwhile, in MB; processes that it started
            are not counted.
        error: Empty if it ended well; else the exception's type and message.
        trace: The traceback, for errors that are not the user's.
        text: What its progress bar says.
        share: Share of its work that is done; ``None`` if unknown.
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
    text: str = ""
    share: float | None = None

    @property
    def slot(self) -> str:
        """Kind of slot that it takes: ``gpu`` or ``cpu``."""
        return "gpu" if self.gpus else "cpu"


def run_node(setup: Setup, run: NodeRun, payload: list[bytes], send: Send) -> NodeRun:
    """Run one node.

    Args:
        setup: What the process must know.
        run: The node's name and what it was given.
        payload: See ``pool.pack``.
        send: Takes messages for the main process.

    Returns:
        ``run``, completed; a node's own error is told there, not raised.
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
    _forget_peak()
    relay = _Relay(run.node, send)
    logging.getLogger().addHandler(relay)
    report_progress_to(relay.progress)
    try:
        _execute(setup, payload)
        run.outcome = "done"
    except Exception as error:
        run.outcome, run.error = "failed", f"{type(error).__name__}: {error}"
        if not any(isinstance(cause, InputError) for cause in causes(error)):
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
            logging.getLogger("rsna19_kedro.runs").info("Taking the results of the other run")
            return
        Task(node, catalog, setup.is_async, hook_manager=hooks, run_id=setup.run_id).execute()


@functools.cache
def _hook_manager(package: str | None) -> Any:
    """The project's hooks, made once per process, without those that count in the main process."""
    # Kedro has no public way to a hook manager; its own ParallelRunner takes this one, but
    # registers all hooks with it.
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
    """Once per process: folder, search path, Kedro's settings, logs for the main process only."""
    if not has_gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # A node is one process: Lightning would take the tasks of a SLURM job for its own.
    os.environ.pop("SLURM_NTASKS", None)
    if Path(setup.project).is_dir():
        os.chdir(setup.project)
    sys.path.extend(path for path in setup.paths if path not in sys.path)
    if setup.package is not None:
        from kedro.framework.project import configure_project

        configure_project(setup.package)
    logging.getLogger().handlers.clear()
    for name, level in setup.levels:
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)


class _Relay(logging.Handler):
    """Sends what a node logs, and how far it is, to the main process."""

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

    def progress(self, text: str, done: float, total: float | None) -> None:
        """At most one message per second."""
        if time.monotonic() - self._last >= 1:
            self._last = time.monotonic()
            share = done / total if total else None
            self._send((self._node, "run", {"text": text, "share": share}))


def _forget_peak() -> None:
    """Let Linux count the peak anew; elsewhere it is the process's since its start."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
