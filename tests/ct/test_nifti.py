"""A head from NIfTI stands as one from DICOM would."""

import nibabel
import numpy as np
import pytest

from rsna19_kedro.ct.nifti import read_nifti
from rsna19_kedro.errors import InputError


def test_nifti_stands_as_dicom_would(tmp_path) -> None:
    """Feet first, front in the first row, the patient's right in the first column."""
    data = np.full((20, 24, 6), -1000, np.float32)  # x to the right, y to the front, z up.
    data[4:16, 4:20, :] = 30
    data[14, 18, 5] = 900  # Right, front, top.
    path = tmp_path / "head.nii.gz"
    nibabel.save(nibabel.Nifti1Image(data, np.diag([1.0, 1, 5, 1])), path)
    volume = read_nifti(path, 32)
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
    assert np.array_equal(read_nifti(path, 32), volume)


def test_nifti_without_hu_is_refused(tmp_path) -> None:
    path = tmp_path / "mask.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4)), path)
    with pytest.raises(InputError, match="not HU"):
        read_nifti(path, 8)
    nibabel.save(nibabel.Nifti1Image(np.full((4, 4, 4, 2), -900.0), np.eye(4)), path)
    with pytest.raises(InputError, match="4 axes"):
        read_nifti(path, 8)
    path.write_bytes(b"no nifti")
    with pytest.raises(InputError, match="no readable NIfTI"):
        read_nifti(path, 8)
