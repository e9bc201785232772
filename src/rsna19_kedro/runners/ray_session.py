"""Start Ray on this machine or connect to a cluster; leave nothing behind."""

import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import ray

from rsna19_kedro.errors import InputError
from rsna19_kedro.runners.machine import RunnerOptions, Slots, local_slots

logger = logging.getLogger("rsna19_kedro.runs")

_OBJECT_STORE_BYTES = 100 * 1024**2
"""Ray's shared memory: nodes hand over files, so that only small answers go through it."""

_CONNECT_S = 5.0

_FOLDER = "rsna19-ray-"
_KEEP = "keep"
"""Marks the folder of a run whose worker died: its logs may say why."""


@dataclass
class Room:
    """What the nodes of a run may take together.

    Attributes:
        gpus: Cards.
        cpus: CPU slots.
        largest_gpus: Most cards on one machine.
        text: For the log.
        shared: Whether more machines may join, and other jobs take their part.
    """

    gpus: float
    cpus: float
    largest_gpus: float
    text: str
    shared: bool = False


class RaySession(AbstractContextManager["RaySession"]):
    """Ray for the time of a run.

    A Ray of this machine is started with what was asked for and ended with all its processes. A
    cluster's is left as it was.

    Args:
        options: What was asked for.
    """

    def __init__(self, options: RunnerOptions) -> None:
        self.options = options
        self.room = Room(0, 0, 0, "")
        self.pids: set[int] = set()
        self.local = options.address is None
        self.simulated = False
        self.keep_logs = False
        self.folder = Path()

    def __enter__(self) -> "RaySession":
        if self.options.address is not None:
            self._connect(self.options.address)
        else:
            self._start(local_slots(self.options))
        return self

    def _start(self, slots: Slots) -> None:
        base = "/tmp" if os.path.isdir("/tmp") else None  # Unix sockets have short paths.
        logging.getLogger("ray").setLevel(logging.ERROR)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-", dir=base))
        _remove_abandoned(self.folder.parent)
        try:
            with _environment(_worker_environment(slots)), _sigterm_kept():
                ray.init(
                    address="local",
                    num_cpus=slots.cpus,
                    num_gpus=slots.gpus,
                    object_store_memory=_OBJECT_STORE_BYTES,
                    include_dashboard=False,
                    log_to_driver=False,
                    configure_logging=False,
                    _temp_dir=str(self.folder),
                )
        except Exception as error:
            raise InputError(
                f"Ray could not be started on this machine: {str(error).splitlines()[0][:300]}. "
                f"Its logs are in {self.folder}; without --runner-params the nodes run in order."
            ) from error
        self.simulated = slots.logical
        self.room = Room(slots.gpus, slots.cpus, slots.gpus, str(slots))

    def _connect(self, address: str) -> None:
        check_reachable(address)
        try:
            with _sigterm_kept():
                ray.init(address=address, log_to_driver=False, configure_logging=False)
        except Exception as error:
            raise InputError(
                f"--runner-params address={address}: Ray does not answer there "
                f"({str(error).splitlines()[0][:200]}). Is this machine part of the cluster "
                "('ray status'), and is the port the one of 'ray start --head'? A cluster "
                "that was started with a key wants RAY_AUTH_MODE=token here too."
            ) from error
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        there = ray.cluster_resources()
        gpus = there.get("GPU", 0) if self.options.gpus is None else self.options.gpus
        cpus = self.options.cpus or there.get("CPU", 1)
        largest = max((machine.get("GPU", 0) for machine in machines), default=0)
        text = f"{gpus:g} GPUs, {cpus:g} CPU slots on {len(machines)} machines"
        self.room = Room(gpus, cpus, largest, text, shared=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with _no_interrupt():
            with suppress(Exception):
                ray.shutdown()
            if self.local:
                _kill_left_over(self.pids)
                if self.keep_logs:
                    (self.folder / _KEEP).touch()
                else:
                    shutil.rmtree(self.folder, ignore_errors=True)


def check_reachable(address: str) -> None:
    """Find out in seconds whether anything listens; Ray itself would try for a minute.

    Raises:
        InputError: A bad address, or nothing answers there.
    """
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise InputError(
            f"--runner-params address={address}: host:port is wanted, such as 10.0.0.5:6379, or "
            "'auto' on a machine of the cluster."
        )
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except OSError as error:
        raise InputError(
            f"--runner-params address={address}: nothing answers there ({error}). Start the "
            f"cluster with 'ray start --head --port={port}', or leave the address out to run on "
            "this machine."
        ) from error


def _remove_abandoned(base: Path) -> None:
    """Remove what runs left here whose main process was killed."""
    for folder in base.glob(f"{_FOLDER}*-*"):
        owner = folder.name.removeprefix(_FOLDER).split("-")[0]
        if owner.isdigit() and not (folder / _KEEP).exists() and not _lives(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _worker_environment(slots: Slots) -> dict[str, str | None]:
    """Variables that Ray's processes inherit; ``None`` takes one away."""
    variables: dict[str, str | None] = {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        # Processes that a killed worker had started go with it.
        "RAY_process_group_cleanup_enabled": "true",
    }
    if "OMP_NUM_THREADS" not in os.environ:
        variables["OMP_NUM_THREADS"] = str(slots.threads)
    if slots.logical:
        variables["CUDA_VISIBLE_DEVICES"] = None
    return variables


@contextmanager
def _environment(variables: dict[str, str | None]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    try:
        _set(variables)
        yield
    finally:
        _set(before)


def _set(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Ray puts its own handler of SIGTERM in the main process; the one before comes back."""
    before: Any = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        with suppress(ValueError):  # Not in the main thread.
            signal.signal(signal.SIGTERM, before)


@contextmanager
def stop_on_sigterm() -> Iterator[None]:
    """Inside this block SIGTERM, which batch systems send, does what Ctrl-C does."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before: Any = signal.getsignal(signal.SIGTERM)
    try:
        with suppress(ValueError):
            signal.signal(signal.SIGTERM, interrupt)
        yield
    finally:
        with suppress(ValueError):
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """A second Ctrl-C does not disturb the tidying up after the first."""
    before: Any = signal.getsignal(signal.SIGINT)
    try:
        with suppress(ValueError):
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        yield
    finally:
        with suppress(ValueError):
            signal.signal(signal.SIGINT, before)


def _kill_left_over(pids: set[int], patience_s: float = 1.0) -> None:
    """Kill workers that outlived their Ray, once they had time to end by themselves."""
    deadline = time.monotonic() + patience_s
    left = {pid for pid in pids if _is_worker(pid)}
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = {pid for pid in left if _is_worker(pid)}
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _is_worker(pid: int) -> bool:
    """Whether a process lives and is a worker of Ray (its number may have been given anew)."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return words.startswith(b"ray::") or b"default_worker.py" in words
