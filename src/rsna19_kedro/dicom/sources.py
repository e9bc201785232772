"""Input sources: a folder, a DICOM file, a zip file of DICOM, or a NIfTI file in HU."""

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from rsna19_kedro.errors import SourceError
from rsna19_kedro.files import leads_out, walk_files

MAX_UNPACKED_BYTES: Final = 20 * 2**30
"""Zip files that would unpack to more are refused."""

_NIFTI: Final = (".nii", ".nii.gz")
_DEEPEST_ZIP: Final = 3
"""Greatest depth of nested zip files that is unpacked."""
_LOCKED: Final = 0x1
_BLOCK_BYTES: Final = 4096
"""Size counted for an empty file: one disk block."""


@dataclass(frozen=True)
class Source:
    """Files of a source.

    Attributes:
        root: Folder that ``files`` are relative to.
        files: Paths with ``/`` between folders, sorted; a zip file within the source appears as
            a folder of the same name.
        nifti: Whether the source is a NIfTI file rather than DICOM.
        refused: Why zip files within the source cannot be unpacked and links are not followed,
            by path.
    """

    root: Path
    files: tuple[str, ...]
    nifti: bool = False
    refused: dict[str, str] = field(default_factory=dict)


def check_exists(path: Path) -> None:
    """Refuse a source that does not exist.

    Raises:
        SourceError: It does not exist.
    """
    if not path.is_dir() and not path.is_file():
        raise SourceError(
            f"The source {path} does not exist. Specify a folder, a DICOM file, a zip file or a "
            "NIfTI file (on the command line: --params source=PATH)."
        )


@contextmanager
def opened(
    path: Path, max_bytes: int = MAX_UNPACKED_BYTES, *, follow_links: bool = True
) -> Iterator[Source]:
    """List the files of a source; unpacked zip files are removed when the context ends.

    Links in folders are followed. Hidden files and folders (``.git``, ``._IM1``) and
    ``__MACOSX`` are left out.

    Args:
        path: Folder, file, zip file or NIfTI file.
        max_bytes: Greatest total size of the unpacked zip files.
        follow_links: Whether links that lead out of the folder are followed; otherwise they are
            listed in ``refused``.

    Raises:
        SourceError: The source does not exist, is empty, or is a zip file that cannot be
            unpacked.
    """
    check_exists(path)
    if path.is_dir():
        files = _listed(path)
        if not files:
            raise SourceError(f"The source {path} contains no files.")
        outside = {
            name: "a link that leads out of the source (new_study.follow_links is false)"
            for name in files
            if not follow_links and leads_out(path / name, path)
        }
        files = tuple(name for name in files if name not in outside)
        if not any(_is_zip(path / name) for name in files):
            yield Source(path, files, refused=outside)
            return
        with tempfile.TemporaryDirectory(prefix="rsna19-") as name:
            root, unpacking = Path(name), _Unpacking(max_bytes)
            for file in files:
                unpacking.add(path / file, root / file, 1)
            yield Source(root, _listed(root), refused=outside | unpacking.refused(root))
    elif path.name.lower().endswith(_NIFTI):
        yield Source(path.parent, (path.name,), nifti=True)
    elif zipfile.is_zipfile(path):
        with tempfile.TemporaryDirectory(prefix="rsna19-") as name:
            root, unpacking = Path(name), _Unpacking(max_bytes)
            try:
                unpacking.unpack(path, root, 1)
            except _CannotUnpack as error:
                raise SourceError(f"The zip file {path} {error}") from error
            files, refused = _listed(root), unpacking.refused(root)
            if not files and not refused:
                raise SourceError(f"The source {path} contains no files.")
            yield Source(root, files, refused=refused)
    else:
        yield Source(path.parent, (path.name,))


def _listed(folder: Path) -> tuple[str, ...]:
    names = (Path(name).relative_to(folder).as_posix() for name in walk_files(folder))
    return tuple(
        sorted(
            name
            for name in names
            if "__MACOSX" not in name.split("/") and (folder / name).is_file()
        )
    )


def _is_zip(path: Path) -> bool:
    """Check the first bytes, since a DICOM file may happen to end like a zip file."""
    try:
        with path.open("rb") as file:
            return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06") and path.stat().st_size > 21
    except OSError:
        return False


class _CannotUnpack(Exception):
    """The zip file cannot be unpacked; the message continues "The zip file ..." with a verb."""


class _Unpacking:
    """Unpacks zip files and nested zip files up to a total size."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = self._left = max_bytes
        self._refused: dict[Path, str] = {}

    def refused(self, root: Path) -> dict[str, str]:
        """Return why zip files could not be unpacked, by path relative to ``root``."""
        return {
            path.relative_to(root).as_posix(): f"a zip file that {why}"
            for path, why in self._refused.items()
        }

    def add(self, file: Path, target: Path, depth: int) -> None:
        """Unpack a zip file to the folder ``target``; link any other file."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if not _is_zip(file):
            target.symlink_to(file.resolve())
            return
        try:
            self.unpack(file, target, depth)
        except _CannotUnpack as error:
            shutil.rmtree(target, ignore_errors=True)  # Do not use half a study.
            self._refused[target] = str(error)

    def unpack(self, path: Path, target: Path, depth: int) -> None:
        """Check the declared size of a zip file, then unpack it and count the actual size.

        Raises:
            _CannotUnpack: The zip file cannot be unpacked; says why and what to do.
        """
        if depth > _DEEPEST_ZIP:
            raise _CannotUnpack(f"is nested in {_DEEPEST_ZIP} others. Unpack the outer ones first.")
        try:
            with zipfile.ZipFile(path) as archive:
                self._extract(archive, target)
        except _CannotUnpack:
            raise
        except NotImplementedError as error:
            raise _CannotUnpack(
                "uses a compression method that Python does not support (such as Deflate64, which "
                "Windows uses above 2 GB). Unpack it yourself and specify that folder."
            ) from error
        except OSError as error:  # Such as a full disk or a name that is too long.
            raise _CannotUnpack(f"cannot be unpacked: {error.strerror or error}.") from error
        except Exception as error:  # Decompressors raise many types on invalid bytes.
            raise _CannotUnpack(
                "is damaged: not all of its files can be unpacked. Get an intact copy, or unpack "
                "the readable files yourself and specify that folder."
            ) from error
        inner = [Path(name) for name in walk_files(target) if _is_zip(Path(name))]
        for file in inner:
            packed = file.with_name(f".{file.name}")
            file.rename(packed)
            self.add(packed, file, depth + 1)
            packed.unlink()

    def _extract(self, archive: zipfile.ZipFile, target: Path) -> None:
        members = [member for member in archive.infolist() if not member.is_dir()]
        for member in members:
            name = PurePosixPath(member.filename.replace("\\", "/"))
            link = (member.external_attr >> 16) & 0o170000 == 0o120000
            if name.is_absolute() or ".." in name.parts or ":" in name.parts[0] or link:
                raise _CannotUnpack(
                    f"contains the path {member.filename!r}, which leads out of it. It was not "
                    "unpacked; create it again from the folder of DICOM files."
                )
            if member.flag_bits & _LOCKED:
                raise _CannotUnpack(
                    "is protected by a password. Unpack it yourself and specify that folder."
                )
        self._left -= _BLOCK_BYTES * len(members)
        if sum(member.file_size for member in members) > self._left:
            raise self._too_large()
        for member in members:
            path = target / member.filename.replace("\\", "/")
            if path.is_dir():
                continue  # A name that ends in a backslash: a folder packed by Windows.
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as packed, path.open("wb") as file:
                while block := packed.read(2**20):
                    self._left -= len(block)
                    if self._left < 0:
                        raise self._too_large()
                    file.write(block)

    def _too_large(self) -> _CannotUnpack:
        return _CannotUnpack(
            f"unpacks to more than {self._max_bytes / 2**30:.1f} GiB. Unpack it yourself and "
            "specify that folder, or raise new_study.max_unpacked_gib."
        )
