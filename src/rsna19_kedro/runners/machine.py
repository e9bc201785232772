"""Options of a run, the devices of this machine, and the choice between Ray and one process."""

import importlib.util
import os
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rsna19_kedro.errors import ParameterError, counted
from rsna19_kedro.parallel import available_cores

# What a node occupies: a GPU (or a share of one), or a CPU slot.
KINDS = ("gpu", "cpu")


@dataclass(frozen=True)
class RunnerOptions:
    """Options of ``--runner-params``.

    Attributes:
        gpus: GPUs to use; 0 sends all nodes to CPU slots, ``None`` takes all visible ones.
        cpus: CPU slots: the number of nodes without a GPU that run in parallel.
        address: A running Ray cluster: ``host:port`` or ``auto``.
        max_retries: How often a node is restarted if its worker dies.
        memory: Gigabytes per node: one number, or one per kind
            (``memory.gpu=16,memory.cpu=4``). Needs Ray.
    """

    gpus: int | None = None
    cpus: int | None = None
    address: str | None = None
    max_retries: int = 2
    memory: float | Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        for name, least in (("gpus", 0), ("cpus", 1), ("max_retries", 0)):
            value = getattr(self, name)
            is_integer = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and not (is_integer and value >= least):
                raise ParameterError(
                    f"--runner-params {name}={value}: expected an integer of at least {least}."
                )
        for kind, value in self.memory_by_kind().items():
            if kind not in KINDS or isinstance(value, bool) or not isinstance(value, int | float):
                raise ParameterError(
                    f"--runner-params memory: {kind}={value}. Give gigabytes per node, memory=8, "
                    "or one number per kind, memory.gpu=16,memory.cpu=4."
                )

    def memory_by_kind(self) -> dict[str, Any]:
        """Gigabytes per node of each kind that has a limit."""
        if isinstance(self.memory, Mapping):
            return dict(self.memory)
        return {} if self.memory is None else dict.fromkeys(KINDS, self.memory)


def choose_mode(options: RunnerOptions) -> tuple[bool, str]:
    """Decide between Ray and a sequential run in this process.

    Returns:
        Whether Ray runs the nodes, and the reason; the log shows it.

    Raises:
        ParameterError: Several devices or a cluster are requested and Ray is not installed, or
            the options contradict each other.
    """
    several = {
        "address": options.address,
        "gpus": options.gpus if (options.gpus or 0) > 1 else None,
        "cpus": options.cpus if (options.cpus or 0) > 1 else None,
    }
    requested = ",".join(f"{name}={value}" for name, value in several.items() if value is not None)
    if requested:
        if not ray_installed():
            raise ParameterError(
                f"--runner-params {requested} needs Ray, which is not installed. Install it "
                "with 'pip install -c requirements.lock -e .[cluster]', or leave the option out "
                "to run the nodes in sequence."
            )
        return True, requested
    if options.gpus == 0:
        raise ParameterError(
            "--runner-params gpus=0 needs several CPU slots: add cpus=2 or more. To run in "
            "sequence without the GPU: --params "
            "training.accelerator=cpu,prediction.accelerator=cpu."
        )
    if options.gpus is not None or options.cpus is not None:
        return False, "in this process (--runner-params asks for one device)"
    gpus = visible_gpus()
    if gpus < 2:
        device, count = ("on one GPU", "1 GPU") if gpus else ("on the CPU", "no GPU")
        return False, f"{device} ({count} found; `--runner-params cpus=N` runs nodes in parallel)"
    if not ray_installed():
        return False, f"in this process ({gpus} GPUs found, but Ray is not installed)"
    return True, f"{gpus} GPUs found"


def ray_installed() -> bool:
    """Whether the optional extra ``cluster`` is installed; imports nothing."""
    return importlib.util.find_spec("ray") is not None


def visible_gpus() -> int:
    """Number of GPUs that this process may use; counted without CUDA or torch."""
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    gpus = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return gpus
    return min(gpus, len([item for item in named.split(",") if item.strip() not in ("", "-1")]))


def check_reachable(address: str) -> None:
    """Check within seconds that the address answers; Ray itself would try for a minute.

    Raises:
        ParameterError: The address is malformed or does not answer.
    """
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise ParameterError(
            f"--runner-params address={address}: expected host:port, such as 10.0.0.5:6379, or "
            "'auto' on a machine of the cluster."
        )
    try:
        socket.create_connection((host, int(port)), timeout=5.0).close()
    except OSError as error:
        raise ParameterError(
            f"--runner-params address={address}: no answer ({error}). Start the cluster with "
            f"'ray start --head --port={port}', or leave the address out to run on this machine."
        ) from error


@dataclass(frozen=True)
class Slots:
    """Devices that the nodes of a run share.

    Attributes:
        gpus: GPUs.
        cpus: CPU slots.
        largest_gpus: Largest number of GPUs in one machine.
        threads: Threads per worker; all workers together use the cores of this machine.
        logical: Whether the GPUs are only counted and do not exist, as in tests.
        machines: Machines of a cluster, which may be shared and may grow; 0 if Ray runs on this
            machine only.
    """

    gpus: int
    cpus: int
    largest_gpus: int
    threads: int = 0
    logical: bool = False
    machines: int = 0

    def __str__(self) -> str:
        if self.machines:
            devices = f"{counted(self.gpus, 'GPU')}, {counted(self.cpus, 'CPU slot')}"
            return f"{devices} on {counted(self.machines, 'machine')}"
        parts = [counted(self.gpus, "logical GPU" if self.logical else "GPU")] * (self.gpus > 0)
        parts += [counted(self.cpus, "CPU slot"), f"{counted(self.threads, 'thread')} per worker"]
        return ", ".join(parts)


def local_slots(options: RunnerOptions) -> Slots:
    """Slots of this machine.

    Without ``cpus`` there are as many CPU slots as GPUs, if there are enough cores.

    Raises:
        ParameterError: More GPUs are requested than are visible.
    """
    visible = visible_gpus()
    gpus = visible if options.gpus is None else options.gpus
    if 0 < visible < gpus:
        raise ParameterError(
            f"--runner-params gpus={gpus}, but only {counted(visible, 'GPU')} found (see "
            "nvidia-smi -L and CUDA_VISIBLE_DEVICES). Small models can share a GPU: "
            "runner.gpus_per_node in conf/base/parameters/runner.yml."
        )
    cores = available_cores()
    cpus = options.cpus or max(1, min(gpus, cores - gpus))
    threads = max(1, cores // (gpus + cpus))
    return Slots(gpus, cpus, gpus, threads, logical=gpus > 0 and visible == 0)
