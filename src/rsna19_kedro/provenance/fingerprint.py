"""Digests of files and folders, and stamps that show cheaply whether a digest is still valid."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path


def digest_text(parts: Iterable[str]) -> str:
    """SHA-256 of texts, in hexadecimal."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode())
        digest.update(b"\0")
    return digest.hexdigest()


def digest_files(paths: Iterable[Path]) -> str:
    """SHA-256 of the concatenated content of files."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def digest(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of all files in a folder."""
    if not path.is_dir():
        return digest_files([path])
    return digest_text(
        text for name in _names(path) for text in (name, digest_files([path / name]))
    )


def stamp(path: Path) -> str:
    """Size and modification time of a file, or of all files in a folder.

    Raises:
        FileNotFoundError: The file or folder does not exist.
    """
    if not path.is_dir():
        state = path.stat()
        return f"{state.st_size}-{state.st_mtime_ns}"
    states = ((name, (path / name).stat()) for name in _names(path))
    return digest_text(f"{name}-{state.st_size}-{state.st_mtime_ns}" for name, state in states)


def _names(folder: Path) -> list[str]:
    return sorted(_visible(folder, ""))


def _visible(folder: Path, prefix: str) -> Iterator[str]:
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _visible(Path(entry.path), f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name
