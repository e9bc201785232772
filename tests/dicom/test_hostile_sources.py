"""Malicious files are refused or contained, with bounded memory and disk space."""

import multiprocessing
import os
import pickle
import resource
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dicom_factory import write_slice
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.new_source import prepare_new_studies
from rsna19_kedro.errors import InputError

MAX_BYTES = 20_000_000
MAX_MEMORY_BYTES = 300_000_000


def _zip(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def path_traversal(folder: Path) -> None:
    _zip(folder / "s.zip", {"../../written": b"1", "/tmp/rsna19_written": b"1"})


def link_in_a_zip(folder: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(folder / "s.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr("link/written", b"1")


def zip_bomb(folder: Path) -> None:
    _zip(folder / "s.zip", {f"{n}": bytes(5_000_000) for n in range(9)})


def zip_bomb_that_lies(folder: Path) -> None:
    """Declare a small size in the directory of the archive."""
    zip_bomb(folder)
    path = folder / "s.zip"
    actual, declared = ((size).to_bytes(4, "little") for size in (5_000_000, 500))
    path.write_bytes(path.read_bytes().replace(actual, declared))


def zip_of_zips(folder: Path) -> None:
    content = bytes(1_000_000)
    for level in range(5):
        _zip(folder / f"{level}.zip", {f"{n}.zip": content for n in range(9)})
        content = (folder / f"{level}.zip").read_bytes()
        (folder / f"{level}.zip").unlink()
    (folder / "s.zip").write_bytes(content)


def many_empty_files(folder: Path) -> None:
    _zip(folder / "s.zip", {f"{n}": b"" for n in range(20_000)})


def pickles(folder: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(folder.parent / "written"),)

    for name in ("a.pt", "b.pkl", "c.dcm"):
        (folder / name).write_bytes(pickle.dumps(Evil()))


def pipes_and_circles(folder: Path) -> None:
    os.mkfifo(folder / "pipe.dcm")
    (folder / "zeros.dcm").symlink_to("/dev/zero")
    (folder / "circle").symlink_to(folder)
    (folder / "self").symlink_to(folder / "self")


def links_out(folder: Path) -> None:
    (folder / "root").symlink_to("/etc")
    (folder / "passwd.dcm").symlink_to("/etc/passwd")


def sparse_file(folder: Path) -> None:
    write_slice(folder / "1.dcm", drop=["PixelData"])
    with (folder / "1.dcm").open("r+b") as file:
        file.truncate(2**40)


def huge_image(folder: Path) -> None:
    """Write headers that declare 8 GB of pixels."""
    for n in range(3):
        change = {"Rows": 65535, "Columns": 65535}
        write_slice(folder / f"{n}.dcm", position=(-4, -4, 5 * n), change=change)


def huge_compressed_image(folder: Path) -> None:
    for n in range(3):
        path = write_slice(
            folder / f"{n}.dcm",
            syntax="1.2.840.10008.1.2.4.90",
            shape=(32, 32),
            position=(-4, -4, 5 * n),
        )
        old, new = (size.to_bytes(4, "big") for size in (32, 60_000))
        start = path.read_bytes().index(b"\xff\x4f\xff\x51")  # SOC and SIZ of the codestream.
        content = bytearray(path.read_bytes())
        assert content[start + 8 : start + 12] == old
        for offset in (8, 12, 24, 28):
            content[start + offset : start + offset + 4] = new
        header = bytes(content).replace((32).to_bytes(2, "little"), (60_000).to_bytes(2, "little"))
        path.write_bytes(header if n else bytes(content))


def deflated_bomb(folder: Path) -> None:
    path = write_slice(folder / "1.dcm")
    content = path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    start = 132 + 12 + int.from_bytes(content[140:144], "little") + 2
    content = content[:140] + (start - 144).to_bytes(4, "little") + content[144:]
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(content[start:]) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(5_000_000)) + packer.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(content[:start] + packed + 250 * zeros + packer.flush())


def many_frames(folder: Path) -> None:
    change = {"NumberOfFrames": 2_000_000_000, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2.1"}
    write_slice(folder / "1.dcm", change=change)


def deep_sequences(folder: Path) -> None:
    """Nest sequences deeper than Python's stack."""
    path = write_slice(folder / "1.dcm")
    item = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    content = path.read_bytes()
    start = content.index(b"\x08\x00\x18\x00")
    path.write_bytes(content[:start] + item * 50_000 + content[start:])


SOURCES = (
    *(path_traversal, link_in_a_zip, zip_bomb, zip_bomb_that_lies, zip_of_zips, many_empty_files),
    *(pickles, pipes_and_circles, links_out, sparse_file, huge_image, huge_compressed_image),
    *(deflated_bomb, many_frames, deep_sequences),
)


def _prepare(source: Path, results: Path, answer: Any) -> None:
    """Prepare a source in a separate process; send the error and the memory used."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        prepare_new_studies(source, VolumeStore(results), max_unpacked_bytes=MAX_BYTES)
        error = None
    except InputError as refused:
        error = str(refused)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer.send((error, (after - before) * 1024))


@pytest.mark.parametrize("make", SOURCES, ids=lambda make: make.__name__)
def test_is_refused_with_a_message_and_contained(
    make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, temporary = tmp_path / "source", tmp_path / "temporary"
    source.mkdir()
    temporary.mkdir()
    make(source)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    receiver, sender = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=_prepare, args=(source, tmp_path / "results", sender)
    )
    process.start()
    answer = receiver.recv() if receiver.poll(60) else None
    process.kill()
    process.join()
    assert answer is not None, "no answer within a minute"
    error, memory_bytes = answer
    assert error
    assert "Error:" not in error
    assert memory_bytes < MAX_MEMORY_BYTES
    assert not list(temporary.iterdir())
    assert {path.name for path in tmp_path.iterdir()} <= {"source", "temporary", "results"}
    assert not list((tmp_path / "results").glob("*"))
