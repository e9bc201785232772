"""What a user points at, and what is refused."""

import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest

from rsna19_kedro.dicom.sources import crop_head, opened, read_nifti
from rsna19_kedro.errors import InputError


def _zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_folder_is_listed_to_its_depths(tmp_path) -> None:
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


def test_zip_with_a_link_is_refused(tmp_path) -> None:
    path = tmp_path / "s.zip"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match="leads out of"), opened(path):
        pass


def test_zip_that_grows_too_large_is_refused(tmp_path) -> None:
    path = _zip(tmp_path / "s.zip", {"zeros": bytes(200_000)})
    with pytest.raises(InputError, match="unpacks to more"), opened(path, max_bytes=100_000):
        pass


def test_missing_and_empty_sources_say_so(tmp_path) -> None:
    with pytest.raises(InputError, match="does not exist"), opened(tmp_path / "nowhere"):
        pass
    with pytest.raises(InputError, match="holds no file"), opened(tmp_path):
        pass


def test_nifti_stands_as_dicom_would(tmp_path) -> None:
    """Feet first, front in the first row, the patient's right in the first column."""
    data = np.full((20, 24, 6), -1000, np.float32)  # x to the right, y to the front, z up.
    data[4:16, 4:20, :] = 30
    data[14, 18, 5] = 900  # Right, front, top.
    path = tmp_path / "head.nii.gz"
    nibabel.save(nibabel.Nifti1Image(data, np.diag([1.0, 1, 5, 1])), path)
    volume = read_nifti(path, 32, -2000)
    assert volume.shape == (6, 32, 32)
    place = np.argwhere(volume == 900)
    assert len(place) == 1
    depth, row, col = place[0]
    inside = np.argwhere(volume[0] == 30)
    assert depth == 5
    assert row < inside[:, 0].mean()
    assert col < inside[:, 1].mean()
    flipped = nibabel.Nifti1Image(data[::-1], np.diag([-1.0, 1, 5, 1]))
    nibabel.save(flipped, path)
    assert np.array_equal(read_nifti(path, 32, -2000), volume)


def test_nifti_without_hu_is_refused(tmp_path) -> None:
    path = tmp_path / "mask.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4)), path)
    with pytest.raises(InputError, match="not HU"):
        read_nifti(path, 8, -2000)
    nibabel.save(nibabel.Nifti1Image(np.full((4, 4, 4, 2), -900.0), np.eye(4)), path)
    with pytest.raises(InputError, match="4 axes"):
        read_nifti(path, 8, -2000)
    path.write_bytes(b"no nifti")
    with pytest.raises(InputError, match="no readable NIfTI"):
        read_nifti(path, 8, -2000)


def test_crop_is_round_the_centre_of_mass() -> None:
    hu = np.full((1, 20, 20), -1000, np.int16)
    hu[0, 15:19, 1:5] = 40
    cropped = crop_head(hu, 8, -2000)
    rows, cols = np.nonzero(cropped[0] == 40)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (2, 5, 2, 5)
