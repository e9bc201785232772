"""Locks that prevent two runs from making the same result at the same time.

A lock is an empty file, locked by the operating system, which unlocks it whenever the process
ends. While it is held, an owner file next to it names the process, machine, start and command.
"""

import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

from filelock import FileLock, Timeout

from rsna19_kedro.errors import InputError
from rsna19_kedro.files import atomic_path, storage_errors
from rsna19_kedro.provenance.record import now

_POLL_S: Final = 0.2
_PROBE_S: Final = 0.5
"""A lock that becomes free within this time was only checked by ``owner_of``."""


class LockedError(InputError):
    """A result that another run is making."""


@dataclass(frozen=True)
class Owner:
    """Who holds a lock.

    Attributes:
        process: Process ID.
        host: Name of the machine.
        since: ISO 8601 with time zone.
        command: Its command line.
    """

    process: int
    host: str
    since: str
    command: str

    @classmethod
    def of_this_process(cls) -> Self:
        """Owner that describes this process, starting now."""
        return cls(os.getpid(), socket.gethostname(), now(), command_line())

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read an owner file; ``None`` if it is missing or invalid."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Write an owner file."""
        with atomic_path(path) as part:
            part.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    def __str__(self) -> str:
        return f"process {self.process} on {self.host} since {self.since} ({self.command})"


WaitsFor = Callable[[Path, Owner | None], None]
"""Called once per result that is waited for, with its owner if known."""


def command_line() -> str:
    """Command line of this process, as the user types it."""
    return shlex.join([Path(sys.argv[0] or "python").name, *sys.argv[1:]])


def lock_path(result: Path) -> Path:
    """Path of the lock of a file or folder."""
    return result.parent / f".{result.name}.lock"


def owner_path(result: Path) -> Path:
    """Path of the owner file next to the lock of a file or folder."""
    return result.parent / f".{result.name}.owner.json"


def owner_of(result: Path) -> Owner | None:
    """Owner of the process that is making a result now; ``None`` if there is none."""
    owner = Owner.read(owner_path(result))
    if owner is None or owner.host != socket.gethostname():
        return owner
    lock = FileLock(lock_path(result))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return owner
    except OSError:  # The folder is gone, or the disk is read-only.
        return None
    lock.release()
    return None


@contextmanager
def held(results: list[Path], *, wait: bool, waits_for: WaitsFor) -> Iterator[bool]:
    """Hold the locks of results inside this block.

    Args:
        results: Files and folders; their locks are taken in sorted order.
        wait: Whether to wait for locks that other processes hold.
        waits_for: Called once per result that is waited for.

    Yields:
        Whether the process had to wait.

    Raises:
        LockedError: Another process holds a lock and ``wait`` is false, or a process on another
            machine has not released it.
    """
    waited = False
    with ExitStack() as stack:
        for result in sorted(set(results)):
            with storage_errors(lock_path(result)):
                result.parent.mkdir(parents=True, exist_ok=True)
                waited |= _acquire(result, stack, wait, waits_for)
        yield waited


def _acquire(result: Path, stack: ExitStack, wait: bool, waits_for: WaitsFor) -> bool:
    lock = FileLock(lock_path(result))
    waited = False
    while True:
        try:
            lock.acquire(timeout=_PROBE_S)
            break
        except Timeout:
            if not wait:
                raise _being_made(result, Owner.read(owner_path(result))) from None
        except NotImplementedError as error:
            raise LockedError(
                f"The file system of {result.parent} does not support locks. Mount it with locks "
                "(see docs/side_by_side.md), or work on a local disk."
            ) from error
        if not waited:
            waited = True
            waits_for(result, Owner.read(owner_path(result)))
    stack.callback(lock.release)
    _refuse_foreign(result)
    Owner.of_this_process().write(owner_path(result))
    stack.callback(_remove, owner_path(result))
    return waited


def _refuse_foreign(result: Path) -> None:
    """Refuse to take over a lock that a process of another machine has not released.

    The lock appears free here, but the file system may hide it from this machine.
    """
    owner = Owner.read(owner_path(result))
    if owner is not None and owner.host != socket.gethostname():
        raise LockedError(
            f"{result} was being made by {owner}, which has not released it. If that process "
            f"is no longer running, remove {owner_path(result)} and run again."
        )


def wait_until_free(result: Path, *, wait: bool, waits_for: WaitsFor) -> bool:
    """Wait until no process is making a result; return whether one was.

    Raises:
        LockedError: A process is making it, and ``wait`` is false.
    """
    waited = False
    while (owner := owner_of(result)) is not None:
        if not wait:
            raise _being_made(result, owner)
        if not waited:
            waited = True
            waits_for(result, owner)
        time.sleep(_POLL_S)
    return waited


def _being_made(result: Path, owner: Owner | None) -> LockedError:
    return LockedError(
        f"{result} is being made by {owner or 'another process'}. Leave out wait:false to wait for "
        "it, or stop that run."
    )


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
