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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rsna19_kedro.errors import InputError
from rsna19_kedro.parallel import report_progress_to


@dataclass(frozen=True)
class Setup:
    """What a worker must know of the run, sent along with each node.

    Attributes:
        package: Python package of the Kedro project; ``None`` outside of a project.
        project: Folder of the project; a worker that has it works in it.
        paths: The search path of the main process.
        levels: Levels of loggers of the main process, by name.
        run_id: Kedro's name of the run.
        is_async: Kedro's option to load and save in threads.
        has_gpu: Whether the node was given a card.
    """

    package: str | None
    project: str
    paths: tuple[str, ...]
    levels: dict[str, int]
    run_id: str | None
    is_async: bool
    has_gpu: bool = False


@dataclass
class Outcome:
    """How a node ended, and on what.

    Attributes:
        node: Its name.
        start: Seconds since 1970, on the worker's clock.
        end: See ``start``.
        host: Name of the machine.
        pid: Number of the worker process.
        device: ``gpu 1``, or ``cpu``.
        peak_mb: Most memory that the worker held meanwhile, in MB; processes that it started
            are not counted.
        error: Empty if it ended well; else the exception's type and message.
        trace: The traceback, for errors that are not the user's.
    """

    node: str
    start: float = 0.0
    end: float = 0.0
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    device: str = "cpu"
    peak_mb: float = 0.0
    error: str = ""
    trace: str = ""


Send = Callable[[tuple[Any, ...]], None]


def run_node(setup: Setup, name: str, payload: bytes, send: Send) -> Outcome:
    """Run one node.

    Args:
        setup: What the process must know.
        name: The node's name.
        payload: The pickled node and the datasets that it loads and saves.
        send: Takes messages for the main process.

    Returns:
        How it ended; a node's own error is told there, not raised.
    """
    _prepare_process(setup)
    outcome = Outcome(name, device=_device(setup.has_gpu))
    _forget_peak()
    outcome.start = time.time()
    send(("start", name, outcome.pid, outcome.host, outcome.device))
    handler = _Relay(name, send)
    logging.getLogger().addHandler(handler)
    report_progress_to(functools.partial(_send_progress, name, send, [0.0]))
    try:
        _execute(setup, *pickle.loads(payload))
    except Exception as error:
        outcome.error = f"{type(error).__name__}: {error}"
        if not _is_input_error(error):
            outcome.trace = traceback.format_exc()
    finally:
        report_progress_to(None)
        logging.getLogger().removeHandler(handler)
    outcome.end = time.time()
    outcome.peak_mb = _peak_mb()
    return outcome


def _execute(setup: Setup, node: Any, datasets: dict[str, Any]) -> None:
    from kedro.io import DataCatalog
    from kedro.runner import Task

    catalog = DataCatalog(datasets=datasets)
    hooks = _hook_manager(setup.package)
    Task(node, catalog, setup.is_async, hook_manager=hooks, run_id=setup.run_id).execute()


def _is_input_error(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, InputError):
            return True
        error = error.__cause__ or error.__context__
    return False


@functools.cache
def _hook_manager(package: str | None) -> Any:
    """The project's hooks, made once a process, without those that count in the main process."""
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


_prepared = False


def _prepare_process(setup: Setup) -> None:
    """Once a process: folder, search path, Kedro's settings, logs that only the main one shows."""
    global _prepared  # noqa: PLW0603 - a worker process takes node after node
    if not setup.has_gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if _prepared:
        return
    _prepared = True
    # A node is one process: Lightning would take the tasks of a SLURM job for its own.
    os.environ.pop("SLURM_NTASKS", None)
    if Path(setup.project).is_dir():
        os.chdir(setup.project)
    sys.path.extend(path for path in setup.paths if path not in sys.path)
    if setup.package is not None:
        from kedro.framework.project import configure_project

        configure_project(setup.package)
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    for name, level in setup.levels.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)


def _device(has_gpu: bool) -> str:
    return f"gpu {os.environ.get('CUDA_VISIBLE_DEVICES', '?')}" if has_gpu else "cpu"


class _Relay(logging.Handler):
    """Sends what a node logs to the main process, with the node's name."""

    def __init__(self, node: str, send: Send) -> None:
        super().__init__()
        self._node, self._send = node, send

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
            if record.exc_info:
                text += "\n" + logging.Formatter().formatException(record.exc_info)
            self._send(("log", self._node, record.name, record.levelno, text))
        except Exception:
            self.handleError(record)


def _send_progress(
    node: str, send: Send, last: list[float], text: str, done: float, total: float | None
) -> None:
    """At most one message a second."""
    now = time.monotonic()
    if now - last[0] >= 1:
        last[0] = now
        send(("progress", node, text, done, total))


def _forget_peak() -> None:
    """Let Linux count the peak anew; elsewhere it is the process's since its start."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_mb() -> float:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
