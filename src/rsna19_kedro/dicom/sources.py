"""What a user points at: a folder, one file, a zip of DICOM, or a NIfTI file with HU."""

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
"""A zip file that would unpack to more is refused."""

_NIFTI: Final = (".nii", ".nii.gz")
_DEEPEST_ZIP: Final = 3
"""Zip files within zip files are unpacked to this depth."""
_LOCKED: Final = 0x1
_BLOCK_BYTES: Final = 4096
"""What an empty file counts: a block of the disk."""


@dataclass(frozen=True)
class Source:
    """Files to look at.

    Attributes:
        root: Folder that ``files`` are relative to.
        files: Paths with ``/`` between folders, sorted; the name of a zip file within the
            source stands for a folder of what it holds.
        nifti: Whether this is one NIfTI file rather than DICOM.
        refused: Zip files within the source that cannot be unpacked, and links that are not
            followed, and why.
    """

    root: Path
    files: tuple[str, ...]
    nifti: bool = False
    refused: dict[str, str] = field(default_factory=dict)


@contextmanager
def opened(
    path: Path, max_bytes: int = MAX_UNPACKED_BYTES, *, follow_links: bool = True
) -> Iterator[Source]:
    """List the files of a source; zip files are unpacked for as long as the block lasts.

    Folders are walked with their links. Hidden files and folders (``.git``, ``._IM1``) and
    ``__MACOSX`` are left out.

    Args:
        path: Folder, file, zip file or NIfTI file.
        max_bytes: Greatest size of all files from zip files together, unpacked.
        follow_links: Whether links that lead out of the folder are followed; otherwise what they
            lead to is refused by name.

    Raises:
        SourceError: Nothing there, an empty folder, or a zip file that cannot be unpacked.
    """
    if path.is_dir():
        files = _listed(path)
        if not files:
            raise SourceError(f"The source {path} holds no file.")
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
    elif not path.is_file():
        raise SourceError(
            f"The source {path} does not exist. Name a folder, a DICOM file, a zip file or a "
            "NIfTI file (on the command line: --params source=PATH)."
        )
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
                raise SourceError(f"The source {path} holds no file.")
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
    """By the first bytes: a DICOM file that happens to end like a zip file is none."""
    try:
        with path.open("rb") as file:
            return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06") and path.stat().st_size > 21
    except OSError:
        return False


class _CannotUnpack(Exception):
    """Why, as a sentence that begins with its verb; the zip file is its subject."""


class _Unpacking:
    """Unpacks zip files and the zip files within them, to a limit for all together."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = self._left = max_bytes
        self._refused: dict[Path, str] = {}

    def refused(self, root: Path) -> dict[str, str]:
        """Zip files that could not be unpacked, relative to ``root``, and why."""
        return {
            path.relative_to(root).as_posix(): f"a zip file that {why}"
            for path, why in self._refused.items()
        }

    def add(self, file: Path, target: Path, depth: int) -> None:
        """Unpack a zip file to a folder of its name; link any other file."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if not _is_zip(file):
            target.symlink_to(file.resolve())
            return
        try:
            self.unpack(file, target, depth)
        except _CannotUnpack as error:
            shutil.rmtree(target, ignore_errors=True)  # Half a study is none.
            self._refused[target] = str(error)

    def unpack(self, path: Path, target: Path, depth: int) -> None:
        """Unpack after a look at what the file says that it holds, and count as it comes.

        Raises:
            _CannotUnpack: Says what is wrong with it and what to do.
        """
        if depth > _DEEPEST_ZIP:
            raise _CannotUnpack(f"lies in {_DEEPEST_ZIP} others. Unpack the outer ones yourself.")
        try:
            with zipfile.ZipFile(path) as archive:
                self._extract(archive, target)
        except _CannotUnpack:
            raise
        except NotImplementedError as error:
            raise _CannotUnpack(
                "is packed by a method that Python cannot unpack (such as Deflate64, which "
                "Windows takes above 2 GB). Unpack it yourself and name that folder."
            ) from error
        except OSError as error:  # A full disk, a name that is too long.
            raise _CannotUnpack(f"cannot be unpacked: {error.strerror or error}.") from error
        except Exception as error:  # What the decompressors raise on wrong bytes.
            raise _CannotUnpack(
                "is damaged: not all of its files can be unpacked. Get a whole copy of it, or "
                "unpack what can be had yourself and name that folder."
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
                    f"holds the path {member.filename!r}, which leads out of it. It was not "
                    "unpacked; make it anew from the folder of DICOM files."
                )
            if member.flag_bits & _LOCKED:
                raise _CannotUnpack(
                    "is locked with a password. Unpack it yourself and name that folder."
                )
        self._left -= _BLOCK_BYTES * len(members)
        if sum(member.file_size for member in members) > self._left:
            raise self._too_large()
        for member in members:
            path = target / member.filename.replace("\\", "/")
            if path.is_dir():
                continue  # Its name ends in a backslash: a folder, as Windows packs it.
            path.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as packed, path.open("wb") as file:
                while block := packed.read(2**20):
                    self._left -= len(block)
                    if self._left < 0:
                        raise self._too_large()
                    file.write(block)

    def _too_large(self) -> _CannotUnpack:
        return _CannotUnpack(
            f"unpacks to more than {self._max_bytes / 2**30:.1f} GiB. Unpack it yourself and name "
            "the folder, or raise new_study.max_unpacked_gib."
        )
