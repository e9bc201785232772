"""A head from NIfTI is prepared like one from DICOM."""

import nibabel
import numpy as np
import pytest

from rsna19_kedro.ct.nifti import read_nifti
from rsna19_kedro.errors import InputError


def test_nifti_is_oriented_like_dicom(tmp_path) -> None:
    """Feet in the first slice, front in the first row, the patient's right in the first column."""
    data = np.full((20, 24, 6), -1000, np.float32)  # x to the right, y to the front, z up.
    data[4:16, 4:20, :] = 30
    data[14, 18, 5] = 900  # Right, front, top.
    path = tmp_path / "head.nii.gz"
    nibabel.save(nibabel.Nifti1Image(data, np.diag([1.0, 1, 5, 1])), path)
    volume = read_nifti(path, 32).volume
    assert volume.shape == (6, 32, 32)
    bright = np.argwhere(volume == 900)
    assert len(bright) == 1
    depth, row, col = bright[0]
    inside = np.argwhere(volume[0] == 30)
    assert depth == 5
    assert row < inside[:, 0].mean()
    assert col < inside[:, 1].mean()
    flipped = nibabel.Nifti1Image(data[::-1], np.diag([-1.0, 1, 5, 1]))
    nibabel.save(flipped, path)
    assert np.array_equal(read_nifti(path, 32).volume, volume)


def test_nifti_without_hu_is_refused(tmp_path) -> None:
    path = tmp_path / "mask.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4)), path)
    with pytest.raises(InputError, match="not HU"):
        read_nifti(path, 8)
    nibabel.save(nibabel.Nifti1Image(np.full((4, 4, 4, 2), -900.0), np.eye(4)), path)
    with pytest.raises(InputError, match="4 axes"):
        read_nifti(path, 8)
    path.write_bytes(b"no nifti")
    with pytest.raises(InputError, match="cannot be read as NIfTI"):
        read_nifti(path, 8)


def _head() -> np.ndarray:
    """Return asymmetric HU by (x to the left, y to the back, z up)."""
    data = np.full((40, 48, 6), -1000, np.float32)
    data[6:34, 6:42, :] = 30
    data[6:34, 6:8, :] = 900
    data[8:12, 12:20, 2:4] = 70
    return data


def _affine(tilt_deg: float = 0.0) -> np.ndarray:
    """Return the affine to RAS+ for pixels of 2 mm and slices 5 mm apart along the table."""
    tilt = np.deg2rad(tilt_deg)
    lps = np.eye(4)
    lps[0, 0] = 2
    lps[:3, 1] = 0, 2 * np.cos(tilt), 2 * np.sin(tilt)
    lps[:3, 2] = 0, 0, 5
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


def test_a_sheared_affine_is_aligned_as_a_gantry_tilt(tmp_path) -> None:
    path = tmp_path / "tilted.nii.gz"
    nibabel.save(nibabel.Nifti1Image(_head(), _affine(-20)), path)
    head = read_nifti(path, 48)
    assert head.record.tilt_deg == pytest.approx(-20)
    shift = 5 / 2 * np.sin(np.deg2rad(20))
    assert np.abs(np.diff(head.record.row_shifts_px)) == pytest.approx(shift)
    assert any("sheared" in remark for remark in head.remarks)


def test_equivalent_files_give_the_same_volume(tmp_path) -> None:
    path = tmp_path / "head.nii"
    plain = nibabel.Nifti1Image(_head(), _affine())
    nibabel.save(plain, path)
    expected = read_nifti(path, 48)
    assert expected.remarks == []
    forms = [
        nibabel.Nifti1Image(_head()[..., None], _affine()),
        nibabel.Nifti1Image(_head()[..., None, None], _affine()),
        nibabel.as_closest_canonical(plain),
        nibabel.Nifti1Image(_head()[::-1], _affine() @ _flip(0, 40)),
        nibabel.Nifti1Image(_head()[:, :, ::-1], _affine() @ _flip(2, 6)),
    ]
    for form in forms:
        nibabel.save(form, path)
        assert np.array_equal(read_nifti(path, 48).volume, expected.volume)


def _flip(axis: int, size: int) -> np.ndarray:
    matrix = np.eye(4)
    matrix[axis, axis], matrix[axis, 3] = -1, size - 1
    return matrix


def test_an_undefined_orientation_is_reported(tmp_path) -> None:
    path = tmp_path / "head.nii"
    image = nibabel.Nifti1Image(_head(), None)
    image.header.set_zooms((1, 1, 5))
    nibabel.save(image, path)
    assert any("left and right" in remark for remark in read_nifti(path, 48).remarks)


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.diag([0.5, 5.0, 0.5, 1.0]), "not axial"),
        (np.array([[1.0, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1]]), "not perpend"),
    ],
)
def test_files_that_cannot_be_aligned_are_refused(tmp_path, affine, message) -> None:
    path = tmp_path / "head.nii"
    nibabel.save(nibabel.Nifti1Image(_head(), affine), path)
    with pytest.raises(InputError, match=message):
        read_nifti(path, 48)
