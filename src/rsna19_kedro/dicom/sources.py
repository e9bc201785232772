"""What a user points at: a folder, one file, a zip of DICOM, or a NIfTI file with HU."""

import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from rsna19_kedro.errors import SourceError

MAX_UNPACKED_BYTES: Final = 20 * 2**30
"""A zip file that would unpack to more is refused."""

_NIFTI: Final = (".nii", ".nii.gz")


@dataclass(frozen=True)
class Source:
    """Files to look at.

    Attributes:
        root: Folder that ``files`` are relative to.
        files: Paths with ``/`` between folders, sorted.
        nifti: Whether this is one NIfTI file rather than DICOM.
    """

    root: Path
    files: tuple[str, ...]
    nifti: bool = False


@contextmanager
def opened(path: Path, max_bytes: int = MAX_UNPACKED_BYTES) -> Iterator[Source]:
    """List the files of a source; a zip file is unpacked for as long as the block lasts.

    Args:
        path: Folder, file, zip file or NIfTI file.
        max_bytes: Greatest size of all files of a zip together, unpacked.

    Raises:
        SourceError: Nothing there, an empty folder, or a zip file that is not safe to unpack.
    """
    if path.is_dir():
        yield _folder(path, path)
    elif not path.is_file():
        raise SourceError(
            f"The source {path} does not exist. Name a folder, a DICOM file, a zip file or a "
            "NIfTI file (on the command line: --params source=PATH)."
        )
    elif path.name.lower().endswith(_NIFTI):
        yield Source(path.parent, (path.name,), nifti=True)
    elif zipfile.is_zipfile(path):
        with tempfile.TemporaryDirectory(prefix="rsna19-") as name:
            _unpack(path, Path(name), max_bytes)
            yield _folder(Path(name), path)
    else:
        yield Source(path.parent, (path.name,))


def _folder(folder: Path, shown: Path) -> Source:
    files = sorted(
        file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()
    )
    if not files:
        raise SourceError(f"The source {shown} holds no file.")
    return Source(folder, tuple(files))


def _unpack(path: Path, target: Path, max_bytes: int) -> None:
    """Unpack a zip file after a look at what it says that it holds, and count as it comes."""
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        for member in members:
            name = PurePosixPath(member.filename.replace("\\", "/"))
            link = (member.external_attr >> 16) & 0o170000 == 0o120000
            if name.is_absolute() or ".." in name.parts or ":" in name.parts[0] or link:
                raise SourceError(
                    f"The zip file {path} holds the path {member.filename!r}, which leads out of "
                    "it. It was not unpacked; make it anew from the folder of DICOM files."
                )
        left = max_bytes
        if sum(member.file_size for member in members) > left:
            raise _too_large(path, max_bytes)
        for member in members:
            place = target / member.filename.replace("\\", "/")
            place.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as packed, place.open("wb") as file:
                while block := packed.read(2**20):
                    left -= len(block)
                    if left < 0:
                        raise _too_large(path, max_bytes)
                    file.write(block)


def _too_large(path: Path, max_bytes: int) -> SourceError:
    return SourceError(
        f"The zip file {path} unpacks to more than {max_bytes / 2**30:.1f} GiB. Unpack it "
        "yourself and name the folder, or raise new_study.max_unpacked_gib."
    )
