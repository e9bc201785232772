"""Files and folders: never half a file under its final name, and faults of the disk in words."""

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
"""With less free space than this, a failed write is taken for one of a full disk."""

_LAYER: Final = re.compile(r"\d\d_\w+")

_VANISHED: Final = "the folder or the disk that it is on has gone. Mount it again"

_PROBLEMS: Final = {
    errno.EROFS: "the disk is read-only. Mount it for writing, or work in another folder",
    errno.EACCES: "this user may not write there. Change the permissions of the folder",
    errno.EPERM: "this user may not write there. Change the permissions of the folder",
    errno.ENAMETOOLONG: "the name is too long for this disk. Use a shorter path",
    **dict.fromkeys(
        (errno.ENOENT, errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.ENODEV), _VANISHED
    ),
}


class StorageError(InputError):
    """A disk that is full, read-only or gone, or a limit of the system."""


def storage_problem(error: BaseException, folder: Path) -> str:
    """Say what is wrong with a disk and what to do; empty where the error has another cause.

    Libraries raise errors of their own kinds on a full disk, so its free space is looked at too.

    Args:
        error: What was raised while a file was read or written.
        folder: Its folder.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT) or _is_full(folder):
        return f"no space is left on the disk ({_free_text(folder)}). Free some space"
    if number in (errno.EMFILE, errno.ENFILE):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return (
            f"too many files are open (the limit is {limit}). Raise it, for example: ulimit -n 4096"
        )
    return _PROBLEMS.get(number, "") if number is not None else ""


def unmounted(path: Path) -> str:
    """Say so if the layer of a missing file, such as ``06_models``, is empty or gone as a whole.

    Returns:
        A sentence with a space in front; empty where other results of the layer are there.
    """
    layer = next((one for one in path.parents if _LAYER.fullmatch(one.name)), None)
    if layer is None or any(layer.glob("[!.]*")):
        return ""
    return (
        f" {layer} is empty or gone: if it is on a disk of its own, mount that disk again before "
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


def _storage_error(error: BaseException, path: Path) -> StorageError | None:
    problem = "" if isinstance(error, InputError) else storage_problem(error, path.parent)
    if not problem or not isinstance(error, Exception):
        return None
    return StorageError(f"{path} cannot be written: {problem}. Finished results are kept.")


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn faults of the disk inside this block into errors that say what to do.

    Args:
        path: What is written.

    Raises:
        StorageError: See there.
    """
    try:
        yield
    except Exception as error:
        told = _storage_error(error, path)
        if told is None:
            raise
        raise told from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that takes its name once the block has ended well.

    Args:
        path: Final name; its folder is made if it is missing.

    Yields:
        The path to write to (same folder and suffix). On an error it is removed and a file
        that stood under the final name stays as it was.

    Raises:
        StorageError: The disk is full, read-only or gone.
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
        told = _storage_error(error, path)  # Before the part is removed, which frees space.
        with suppress(OSError):
            part.unlink()
        if told is not None:
            raise told from error
        raise


def warn_if_short(folder: Path, needed_bytes: float, what: str) -> None:
    """Log a warning if a disk has less free space than something will probably need.

    Args:
        folder: Where it will be written; it need not exist.
        needed_bytes: An estimate.
        what: It, for the message.
    """
    existing = next((one for one in (folder, *folder.parents) if one.is_dir()), Path("/"))
    free = shutil.disk_usage(existing).free
    if free < needed_bytes:
        logger.warning(
            "%s will need about %.1f GB, but %s has %.1f GB free",
            *(what, needed_bytes / 1e9, existing, free / 1e9),
        )


def empty_folder(folder: Path) -> None:
    """Remove all that a folder holds; one that is not there is empty."""
    for path in folder.iterdir() if folder.is_dir() else ():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def leads_out(path: str | Path, folder: Path) -> bool:
    """Whether a path leads out of a folder, by a link of its own or of a folder above it."""
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def walk_files(folder: Path) -> Iterator[str]:
    """Paths of all files below a folder, through links to folders, each folder once.

    Files and folders whose names begin with a dot are left out.
    """
    seen = {os.path.realpath(folder)}
    for parent, subfolders, names in os.walk(folder, followlinks=True):
        entered = []
        for name in sorted(subfolders):
            target = os.path.realpath(os.path.join(parent, name))
            if not name.startswith(".") and target not in seen:  # Links may lead in a circle.
                seen.add(target)
                entered.append(name)
        subfolders[:] = entered
        yield from (os.path.join(parent, name) for name in names if not name.startswith("."))
