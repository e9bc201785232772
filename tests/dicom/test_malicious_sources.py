"""Archives and trees that try to write elsewhere, to fill memory or disk, or to run code.

Each one is refused by name, or read without harm: nothing is written outside of the temporary
folder, which is removed, and what is unpacked stays below the limit.
"""

import os
import pickle
import struct
import tempfile
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.new_source import prepare_new_studies
from rsna19_kedro.dicom.sources import Source, opened
from rsna19_kedro.errors import InputError

LIMIT = 2**20
GOOD = {"good/IM1": b"not DICOM, but harmless"}


def packed(members: dict[str, bytes], mode: int = 0) -> bytes:
    """A zip file in memory; ``mode`` is the Unix mode of the last member."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = mode << 16 if name == list(members)[-1] else 0
            archive.writestr(info, content)
    return buffer.getvalue()


def lying(content: bytes) -> bytes:
    """Claim in the directory of a zip file that its last member unpacks to 10 bytes."""
    at = content.rindex(b"PK\x01\x02") + 24
    return content[:at] + struct.pack("<I", 10) + content[at + 4 :]


class Code:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("unpickled",)


ARCHIVES: dict[str, tuple[bytes, str]] = {
    "path upwards": (packed(GOOD | {"../../evil": b"x"}), "leads out of it"),
    "absolute path": (packed(GOOD | {"/tmp/evil": b"x"}), "leads out of it"),
    "path of Windows": (packed(GOOD | {"..\\evil": b"x"}), "leads out of it"),
    "drive of Windows": (packed(GOOD | {"C:\\evil": b"x"}), "leads out of it"),
    "symbolic link": (packed(GOOD | {"evil": b"/etc"}, 0o120777), "leads out of it"),
    "bomb": (packed(GOOD | {"zeros": bytes(20 * LIMIT)}), "unpacks to more than"),
    "bomb that lies": (lying(packed(GOOD | {"zeros": bytes(20 * LIMIT)})), ""),
    "bomb in a zip": (
        packed(GOOD | {"inner.zip": packed({"zeros": bytes(20 * LIMIT)})}),
        "unpacks to more than",
    ),
    "many files": (packed({f"f{i}": b"" for i in range(300)}), "unpacks to more than"),
    "zips in zips": (
        packed({"1.zip": packed({"2.zip": packed({"3.zip": packed({"4.zip": packed(GOOD)})})})}),
        "is nested in 3 others",
    ),
    "pickle": (packed({"IM1": pickle.dumps(Code()), "model.pkl": pickle.dumps(Code())}), ""),
}


def _files_below(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() or path.is_symlink()}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working directory and folder of temporary files inside ``tmp_path``."""
    for name in ("work", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path


def _read(path: Path) -> tuple[Source, int]:
    """Open a source and read all its files; return it and the bytes in the temporary folder."""
    with opened(path, max_bytes=LIMIT) as source:
        for name in source.files:
            (source.root / name).read_bytes()
        unpacked = _files_below(Path(tempfile.gettempdir()))
        return source, sum(file.lstat().st_size for file in unpacked)


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_is_refused_or_contained(home: Path, name: str) -> None:
    content, reason = ARCHIVES[name]
    archive = home / "work" / "study.zip"
    archive.write_bytes(content)
    try:
        source, size = _read(archive)
    except InputError as error:
        text, size = str(error), 0
    else:
        text = " ".join(source.refused.values())
    assert reason in text
    assert size <= LIMIT
    assert _files_below(home) == {archive}
    assert not Path("unpickled").exists()
    assert not Path("/tmp/evil").exists()


@pytest.mark.parametrize("name", ["cycle", "outside", "pipe", "broken link"])
def test_a_tree_is_contained(home: Path, name: str) -> None:
    tree = home / "work" / "tree"
    tree.mkdir()
    (tree / "IM1").write_bytes(pickle.dumps(Code()))
    if name == "cycle":
        (tree / "again").symlink_to(tree)
    elif name == "outside":
        (tree / "evil").symlink_to("/etc/passwd")
    elif name == "pipe":
        os.mkfifo(tree / "pipe")  # Reading it would wait forever.
    else:
        (tree / "gone").symlink_to(tree / "nowhere")
    with opened(tree, follow_links=False) as source:
        assert source.files == ("IM1",)
        assert set(source.refused) == ({"evil"} if name == "outside" else set())
    with pytest.raises(InputError):
        prepare_new_studies(tree, VolumeStore(home / "volumes"), follow_links=False)
    assert not Path("unpickled").exists()
