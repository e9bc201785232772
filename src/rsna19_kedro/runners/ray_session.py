"""Start Ray on this machine or connect to a cluster, and clean up afterwards."""

import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import ray

from rsna19_kedro.errors import InputError, ParameterError
from rsna19_kedro.runners.machine import RunnerOptions, Slots, local_slots
from rsna19_kedro.runners.stops import handled
from rsna19_kedro.threads import threads_of_user

# Ray's shared memory: nodes exchange files, so only small messages use it.
_OBJECT_STORE_BYTES = 100 * 1024**2

_FOLDER = "rsna19-ray-"
# Marks the folder of a run in which a worker died; its logs may say why.
_KEEP = "keep"


class RaySession:
    """Ray for the duration of a run.

    A local Ray is started with the requested slots and ended with all its processes. A cluster
    keeps running.

    Args:
        options: Requested devices, or the address of a cluster.

    Attributes:
        slots: Slots of the run; set when Ray is ready.
        local: Whether Ray runs on this machine only.
        folder: Folder of a local Ray.
        keep_logs: Whether that folder is kept at the end.
        pids: Worker processes of a local Ray; killed at the end if they outlive it.
    """

    slots: Slots

    def __init__(self, options: RunnerOptions) -> None:
        self.options = options
        self.local = options.address is None
        self.folder = Path()
        self.keep_logs = False
        self.pids: set[int] = set()

    def __enter__(self) -> "RaySession":
        with handled(signal.SIGTERM):  # Ray replaces the handler of the main process.
            if self.options.address is None:
                self._start()
            else:
                self._connect(self.options.address)
        return self

    def _start(self) -> None:
        slots = self.slots = local_slots(self.options)
        base = "/tmp" if os.path.isdir("/tmp") else None  # Unix sockets need short paths.
        logging.getLogger("ray").setLevel(logging.ERROR)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-", dir=base))
        _remove_abandoned(self.folder.parent)
        try:
            with _environment(_worker_environment(slots)):
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
                f"Its logs are in {self.folder}. Without --runner-params the nodes run in sequence."
            ) from error

    def _connect(self, address: str) -> None:
        try:
            ray.init(address=address, log_to_driver=False, configure_logging=False)
        except Exception as error:
            raise ParameterError(
                f"--runner-params address={address}: Ray does not answer "
                f"({str(error).splitlines()[0][:200]}). Check that this machine is part of the "
                "cluster ('ray status') and that the port is that of 'ray start --head'. A cluster "
                "that was started with a key needs RAY_AUTH_MODE=token here too."
            ) from error
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        gpus = [int(machine.get("GPU", 0)) for machine in machines]
        self.slots = Slots(
            gpus=sum(gpus) if self.options.gpus is None else self.options.gpus,
            cpus=self.options.cpus or int(ray.cluster_resources().get("CPU", 1)),
            largest_gpus=max(gpus, default=0),
            machines=len(machines),
        )

    def __exit__(self, *_: object) -> None:
        # A second Ctrl-C must not interrupt the cleanup after the first.
        with handled(signal.SIGINT, signal.SIG_IGN):
            with suppress(Exception):
                ray.shutdown()
            if self.local:
                _kill_left_over(self.pids)
                if self.keep_logs:
                    (self.folder / _KEEP).touch()
                else:
                    shutil.rmtree(self.folder, ignore_errors=True)


def _remove_abandoned(base: Path) -> None:
    """Remove the folders of runs whose main process was killed."""
    for folder in base.glob(f"{_FOLDER}*-*"):
        owner = folder.name.removeprefix(_FOLDER).split("-")[0]
        if owner.isdigit() and not (folder / _KEEP).exists() and not _is_alive(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)
    return True


def _worker_environment(slots: Slots) -> dict[str, str | None]:
    """Environment variables of Ray's processes; ``None`` removes one."""
    return {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        # Processes that a killed worker had started are killed too.
        "RAY_process_group_cleanup_enabled": "true",
        "OMP_NUM_THREADS": threads_of_user() or str(slots.threads),
        **({"CUDA_VISIBLE_DEVICES": None} if slots.logical else {}),
    }


@contextmanager
def _environment(variables: dict[str, str | None]) -> Iterator[None]:
    """Set environment variables inside this block only."""
    before = {name: os.environ.get(name) for name in variables}
    try:
        _set_variables(variables)
        yield
    finally:
        _set_variables(before)


def _set_variables(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def _kill_left_over(pids: set[int], patience_s: float = 1.0) -> None:
    """Kill workers that outlive Ray, after giving them time to end."""
    deadline = time.monotonic() + patience_s
    while (left := list(filter(_is_worker, pids))) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _is_worker(pid: int) -> bool:
    """Whether a process exists and is a Ray worker (its ID may have been reused)."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return words.startswith(b"ray::") or b"default_worker.py" in words
