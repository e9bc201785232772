"""Threads of OpenMP, which PyTorch uses: how many, and how they wait for each other."""

import os
from typing import Final

from rsna19_kedro.parallel import available_cores

_WAITING: Final = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_SHORT_WAIT: Final = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "10000"}
_COUNT: Final = "OMP_NUM_THREADS"

_chosen: set[str] = set()
"""Variables set by ``share_cores``."""


def share_cores() -> None:
    """Choose settings of OpenMP for cores that other processes use too.

    On busy cores, a waiting thread that spins can take the core from the thread that it waits
    for; one that sleeps at once wakes up slowly compared with the short operations of a network.
    So threads of GNU's OpenMP, which PyTorch uses on Linux, spin for about 0.1 ms before they
    sleep (they sleep at once if a process has more of them than cores), and those of other OpenMP
    libraries sleep at once. The number of threads respects the CPU quota of a container, which
    OpenMP does not read. Variables that the user has set stay. OpenMP reads them when it is
    loaded, so this is called before PyTorch is imported: by the command line, and at the start of
    workers.
    """
    if not any(name in os.environ for name in _WAITING):
        for name, value in _SHORT_WAIT.items():
            _choose(name, value)
    if _COUNT not in os.environ and available_cores() < _cores_without_quota():
        _choose(_COUNT, str(available_cores()))


def threads_of_user() -> str | None:
    """Number of threads that the user has set for each process, if any."""
    return None if _COUNT in _chosen else os.environ.get(_COUNT)


def _choose(name: str, value: str) -> None:
    os.environ[name] = value
    _chosen.add(name)


def _cores_without_quota() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
