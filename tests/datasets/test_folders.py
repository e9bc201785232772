"""Datasets of folders that nodes work in."""

from pathlib import Path

import pytest
from kedro.io import DatasetError

from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.datasets import DicomFolderDataset, FolderDataset, VolumeStoreDataset


def test_loading_a_folder_creates_nothing(tmp_path: Path) -> None:
    entry = FolderDataset(filepath=str(tmp_path / "new" / "parts"))
    assert entry.load() == tmp_path / "new" / "parts"
    assert not entry.exists()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("dataset", "handle"), [(FolderDataset, Path), (VolumeStoreDataset, VolumeStore)]
)
def test_saved_folder_exists_and_others_are_refused(tmp_path: Path, dataset, handle) -> None:
    entry = dataset(filepath=str(tmp_path / "made"))
    with pytest.raises(DatasetError, match="is not the folder of this dataset"):
        entry.save(handle(tmp_path / "other"))
    assert not entry.exists()
    entry.save(handle(tmp_path / "made"))
    assert entry.exists()


def test_raw_folder_exists_when_its_phantoms_are_complete(tmp_path: Path) -> None:
    entry = DicomFolderDataset(filepath=str(tmp_path / "raw"))
    with pytest.raises(DatasetError, match="does not exist"):
        entry.load()
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / ".gitkeep").touch()
    with pytest.raises(DatasetError, match="is empty"):
        entry.load()
    (tmp_path / "raw" / ".phantoms-started.json").touch()
    assert not entry.exists()
    (tmp_path / "raw" / "phantoms.json").touch()
    assert entry.exists()
    assert entry.load() == tmp_path / "raw"
