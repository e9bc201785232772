"""Files and folders: atomic writes, and readable messages for disk faults."""

import errno
import logging
import os
import re
import resource
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from rsna19_kedro.errors import InputError

logger = logging.getLogger(__name__)

_FULL_BYTES: Final = 2**20
"""With less free space than this, a failed write is attributed to a full disk."""

_LAYER: Final = re.compile(r"\d\d_\w+")

_VANISHED: Final = "the folder or its disk is no longer available. Mount it again"

_PROBLEMS: Final = {
    errno.EROFS: "the disk is read-only. Mount it for writing, or work in another folder",
    errno.EACCES: "you have no permission to write. Change the permissions of the folder",
    errno.EPERM: "you have no permission to write. Change the permissions of the folder",
    errno.ENAMETOOLONG: "the name is too long for this disk. Use a shorter path",
    **dict.fromkeys(
        (errno.ENOENT, errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.ENODEV), _VANISHED
    ),
}


class StorageError(InputError):
    """A disk that is full, read-only or unavailable, or a limit of the system."""


def storage_problem(error: BaseException, folder: Path) -> str:
    """Say what is wrong with a disk and what to do; empty if the error has another cause.

    Checks the free space too, because libraries raise their own errors on a full disk.

    Args:
        error: Error raised while a file was read or written.
        folder: Folder of that file.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT) or _is_full(folder):
        return f"no space is left on the disk ({_free_text(folder)}). Free some space"
    if number in (errno.EMFILE, errno.ENFILE):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return f"too many open files (limit {limit}). Raise the limit, for example: ulimit -n 4096"
    return _PROBLEMS.get(number, "") if number is not None else ""


def unmounted(path: Path) -> str:
    """Say so if the whole layer of a missing file, such as ``06_models``, is empty or missing.

    Returns:
        A sentence with a leading space; empty if the layer contains other results.
    """
    layer = next((parent for parent in path.parents if _LAYER.fullmatch(parent.name)), None)
    if layer is None or any(layer.glob("[!.]*")):
        return ""
    return (
        f" {layer} is empty or missing. If it is on a separate disk, mount that disk again before "
        "you run anything."
    )


def _is_full(folder: Path) -> bool:
    with suppress(OSError):
        return shutil.disk_usage(folder).free < _FULL_BYTES
    return False


def _free_text(folder: Path) -> str:
    with suppress(OSError):
        return f"{shutil.disk_usage(folder).free / 1e6:.1f} MB free in {folder}"
    return str(folder)


def _as_storage_error(error: BaseException, path: Path) -> StorageError | None:
    problem = "" if isinstance(error, InputError) else storage_problem(error, path.parent)
    if not problem or not isinstance(error, Exception):
        return None
    return StorageError(f"{path} cannot be written: {problem}. Finished results are kept.")


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn disk faults inside this block into errors that say what to do.

    Args:
        path: File or folder that is written.

    Raises:
        StorageError: The disk is full, read-only or unavailable.
    """
    try:
        yield
    except Exception as error:
        storage_error = _as_storage_error(error, path)
        if storage_error is None:
            raise
        raise storage_error from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to ``path`` and rename it to ``path`` if the block succeeds.

    Args:
        path: Final path; its folder is created if missing.

    Yields:
        The path to write to (same folder and suffix). On an error it is removed, and an existing
        file at ``path`` stays unchanged.

    Raises:
        StorageError: The disk is full, read-only or unavailable.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".part-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o644)
        part.replace(path)
    except BaseException as error:
        storage_error = _as_storage_error(error, path)  # Before removing the part frees space.
        with suppress(OSError):
            part.unlink()
        if storage_error is not None:
            raise storage_error from error
        raise


def warn_if_short(folder: Path, needed_bytes: float, what: str) -> None:
    """Log a warning if a disk has less free space than will probably be needed.

    Args:
        folder: Folder to write to; need not exist.
        needed_bytes: Estimated size.
        what: Name of the output, for the message.
    """
    existing = next((path for path in (folder, *folder.parents) if path.is_dir()), Path("/"))
    free = shutil.disk_usage(existing).free
    if free < needed_bytes:
        logger.warning(
            "%s will need about %.1f GB, but %s has %.1f GB free",
            *(what, needed_bytes / 1e9, existing, free / 1e9),
        )


def empty_folder(folder: Path) -> None:
    """Remove the content of a folder, if the folder exists."""
    for path in folder.iterdir() if folder.is_dir() else ():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def leads_out(path: str | Path, folder: Path) -> bool:
    """Whether symbolic links make a path lead out of a folder."""
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def walk_files(folder: Path) -> Iterator[str]:
    """Yield the paths of all files below a folder; follows links, visits each folder once.

    Skips files and folders whose names begin with a dot.
    """
    seen = {os.path.realpath(folder)}
    for parent, subfolders, names in os.walk(folder, followlinks=True):
        entered = []
        for name in sorted(subfolders):
            target = os.path.realpath(os.path.join(parent, name))
            if not name.startswith(".") and target not in seen:  # Links may form a cycle.
                seen.add(target)
                entered.append(name)
        subfolders[:] = entered
        yield from (os.path.join(parent, name) for name in names if not name.startswith("."))
