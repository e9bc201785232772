"""What there is to run on, and whether that calls for Ray."""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rsna19_kedro.errors import InputError
from rsna19_kedro.parallel import available_cores

KINDS = ("gpu", "cpu")
"""What a node takes: a card (or a share of one), or a CPU slot."""


@dataclass(frozen=True)
class RunnerOptions:
    """What ``--runner-params`` can say.

    Attributes:
        gpus: GPUs to use; 0 sends all nodes to CPU slots, ``None`` takes what there is.
        cpus: CPU slots, that is nodes without a GPU that run side by side.
        address: A Ray cluster that runs already: ``host:port`` or ``auto``.
        max_retries: How often a node is started again whose worker died.
        memory: Gigabytes that a node asks for: one number, or one for each kind
            (``memory.gpu=16,memory.cpu=4``). It needs Ray.
    """

    gpus: int | None = None
    cpus: int | None = None
    address: str | None = None
    max_retries: int = 2
    memory: float | Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        for name, least in (("gpus", 0), ("cpus", 1), ("max_retries", 0)):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if value is not None and not (whole and value >= least):
                raise InputError(
                    f"--runner-params {name}={value}: a whole number of at least {least} is wanted."
                )
        for kind, value in self.memory_by_kind().items():
            if kind not in KINDS or isinstance(value, bool) or not isinstance(value, int | float):
                raise InputError(
                    f"--runner-params memory: {kind}={value}. Give gigabytes a node, memory=8, or "
                    "a number for each kind, memory.gpu=16,memory.cpu=4."
                )

    def memory_by_kind(self) -> dict[str, Any]:
        """Gigabytes a node of each kind that has a limit."""
        if isinstance(self.memory, Mapping):
            return dict(self.memory)
        return {} if self.memory is None else dict.fromkeys(KINDS, self.memory)


@dataclass(frozen=True)
class Mode:
    """How a run is carried out.

    Attributes:
        ray: Whether Ray runs the nodes; else they run in order in this process.
        reason: For the log.
    """

    ray: bool
    reason: str


def choose_mode(options: RunnerOptions) -> Mode:
    """Decide between Ray and this process.

    Raises:
        InputError: Several devices or a cluster are asked for and Ray is not installed, or
            options that contradict each other.
    """
    asked = [
        f"{name}={value}"
        for name, value in (
            ("address", options.address),
            ("gpus", options.gpus if (options.gpus or 0) > 1 else None),
            ("cpus", options.cpus if (options.cpus or 0) > 1 else None),
        )
        if value is not None
    ]
    if asked:
        if not ray_installed():
            raise InputError(
                f"--runner-params {','.join(asked)} needs Ray, which is not installed. Install it "
                "with 'pip install -c requirements.lock -e .[cluster]', or leave it out to run "
                "the nodes in order."
            )
        return Mode(True, ", ".join(asked))
    if options.gpus == 0:
        raise InputError(
            "--runner-params gpus=0 is for several CPU slots: add cpus=2 or more. To run in this "
            "process without the GPU: --params "
            "training.accelerator=cpu,prediction.accelerator=cpu."
        )
    if options.gpus is not None or options.cpus is not None:
        return Mode(False, "one device was asked for")
    cards = visible_gpus()
    if cards < 2:
        return Mode(False, f"{cards or 'no'} GPU here, and no cpus=N in --runner-params")
    if not ray_installed():
        return Mode(False, f"{cards} GPUs here, but Ray is not installed (.[cluster])")
    return Mode(True, f"{cards} GPUs here")


def ray_installed() -> bool:
    """Whether the optional extra ``cluster`` is there; nothing is imported."""
    return importlib.util.find_spec("ray") is not None


def visible_gpus() -> int:
    """Number of cards that this process may use, without a touch on CUDA or torch."""
    if shutil.which("nvidia-smi") is None:
        return 0
    try:
        listed = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    cards = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        return cards
    return min(cards, len([item for item in named.split(",") if item.strip() not in ("", "-1")]))


@dataclass(frozen=True)
class Slots:
    """Room of this machine for nodes side by side.

    Attributes:
        gpus: Cards.
        cpus: CPU slots.
        threads: Threads a worker, so that all workers together have the machine's cores.
        logical: Whether the cards are only counted: there are none, as in tests.
    """

    gpus: int
    cpus: int
    threads: int
    logical: bool

    def __str__(self) -> str:
        slots = f"{self.cpus} CPU slot{'s' if self.cpus > 1 else ''}"
        cards = f"{self.gpus} {'logical ' if self.logical else ''}GPU{'s' if self.gpus > 1 else ''}"
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''} a worker"
        return f"{cards + ', ' if self.gpus else ''}{slots}, {threads}"


def local_slots(options: RunnerOptions) -> Slots:
    """Slots of this machine.

    Without ``cpus`` there are as many CPU slots as cards, if there are cores enough.

    Raises:
        InputError: More cards are asked for than are visible.
    """
    cards = visible_gpus()
    gpus = cards if options.gpus is None else options.gpus
    if 0 < cards < gpus:
        raise InputError(
            f"--runner-params gpus={gpus}, but only {cards} can be seen (nvidia-smi -L, "
            "CUDA_VISIBLE_DEVICES). Small models can share a card: runner.gpus_per_node in "
            "conf/base/parameters/runner.yml."
        )
    cores = available_cores()
    cpus = options.cpus or max(1, min(gpus, cores - gpus))
    threads = max(1, cores // (gpus + cpus))
    return Slots(gpus, cpus, threads, logical=gpus > 0 and cards == 0)
