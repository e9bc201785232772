"""Files and folders: never half a file under its final name."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that takes its name once the block has ended well.

    Args:
        path: Final name; its folder is made if it is missing.

    Yields:
        The path to write to (same folder and suffix). On an error it is removed and a file
        that stood under the final name stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".part-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        part.chmod(0o644)
        part.replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            part.unlink()
        raise


def empty_folder(folder: Path) -> None:
    """Remove all that a folder holds; one that is not there is empty."""
    for path in folder.iterdir() if folder.is_dir() else ():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


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
