"""Disk faults: distinguished from other errors, with a clear message."""

import errno
import logging
import os
from collections import namedtuple
from pathlib import Path

import pytest

from rsna19_kedro import files
from rsna19_kedro.errors import InputError
from rsna19_kedro.files import StorageError, atomic_path, unmounted, warn_if_short

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space is left on the disk"),
        (errno.EDQUOT, "no space is left on the disk"),
        (errno.EROFS, "the disk is read-only"),
        (errno.EACCES, "you have no permission to write"),
        (errno.EMFILE, "too many open files"),
        (errno.ESTALE, "is no longer available. Mount it again"),
        (errno.EIO, "is no longer available. Mount it again"),
    ],
)
def test_faults_at_a_write_leave_the_old_file(tmp_path: Path, number: int, words: str) -> None:
    path = tmp_path / "table.parquet"
    path.write_text("old")
    with pytest.raises(StorageError, match=words) as caught:
        _fail_after_half(path, OSError(number, os.strerror(number)))
    assert str(path) in str(caught.value)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.parquet"]


def _fail_after_half(path: Path, error: Exception) -> None:
    with atomic_path(path) as part:
        part.write_text("half")
        raise error


def test_an_error_of_a_library_on_a_full_disk_is_recognised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: Usage(100, 100, 0))
    with pytest.raises(StorageError, match="no space is left"), atomic_path(tmp_path / "a.ckpt"):
        raise RuntimeError("enforce fail at inline_container.cc:595")
    assert not os.listdir(tmp_path)


def test_other_errors_are_not_changed(tmp_path: Path) -> None:
    for error in (ValueError("wrong"), InputError("odd"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as caught, atomic_path(tmp_path / "a"):
            raise error
        assert caught.value is error


def test_an_empty_layer_may_be_an_unmounted_disk(tmp_path: Path) -> None:
    checkpoint = tmp_path / "06_models" / "a" / "fold_0" / "checkpoint.safetensors"
    assert "mount that disk again" in unmounted(checkpoint)
    (tmp_path / "06_models" / "b").mkdir(parents=True)
    assert unmounted(checkpoint) == ""


def test_little_free_space_gives_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: Usage(9e9, 8e9, 1e9))
    with caplog.at_level(logging.WARNING):
        warn_if_short(tmp_path / "new" / "folder", 0.9e9, "The training")
        assert not caplog.records
        warn_if_short(tmp_path / "new" / "folder", 2e9, "The training")
    assert "The training will need about 2.0 GB" in caplog.text
    assert "has 1.0 GB free" in caplog.text
