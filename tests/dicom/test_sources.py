"""Input sources that are listed or refused."""

import zipfile
from pathlib import Path

import pytest

from rsna19_kedro.dicom.sources import opened
from rsna19_kedro.errors import InputError


def _zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_folder_is_listed_recursively(tmp_path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "IM1").write_bytes(b"1")
    (tmp_path / "x.dcm").write_bytes(b"2")
    with opened(tmp_path) as source:
        assert source.files == ("a/b/IM1", "x.dcm")


def test_zip_is_unpacked_and_removed(tmp_path) -> None:
    with opened(_zip(tmp_path / "s.zip", {"a/IM1": b"1", "IM2": b"2"})) as source:
        assert source.files == ("IM2", "a/IM1")
        assert (source.root / "a/IM1").read_bytes() == b"1"
    assert not source.root.exists()


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "C:/x", "..\\x"])
def test_zip_that_leads_out_of_itself_is_refused(tmp_path, name: str) -> None:
    path = _zip(tmp_path / "s.zip", {"good": b"1", name: b"2"})
    with pytest.raises(InputError, match="leads out of"), opened(path):
        pass
    assert not (tmp_path / "x").exists()


def test_links_out_of_the_source_are_refused_on_request(tmp_path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "IM1").write_bytes(b"x")
    source = tmp_path / "source"
    (source / "inside").mkdir(parents=True)
    (source / "inside" / "IM2").write_bytes(b"y")
    (source / "folder").symlink_to(tmp_path / "elsewhere")
    (source / "file").symlink_to(tmp_path / "elsewhere" / "IM1")
    (source / "again").symlink_to(source / "inside" / "IM2")
    with opened(source, follow_links=False) as files:
        assert set(files.files) == {"inside/IM2", "again"}
        assert set(files.refused) == {"folder/IM1", "file"}
        assert "leads out of the source" in files.refused["file"]
    with opened(source) as files:
        assert set(files.files) == {"inside/IM2", "again", "folder/IM1", "file"}


def test_zip_with_a_link_is_refused(tmp_path) -> None:
    path = tmp_path / "s.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="leads out of"), opened(path):
        pass


def test_zip_that_unpacks_to_too_much_is_refused(tmp_path) -> None:
    path = _zip(tmp_path / "s.zip", {"zeros": bytes(200_000)})
    with pytest.raises(InputError, match="unpacks to more"), opened(path, max_bytes=100_000):
        pass


def test_missing_and_empty_sources_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="does not exist"), opened(tmp_path / "nowhere"):
        pass
    with pytest.raises(InputError, match="contains no files"), opened(tmp_path):
        pass
