from dataclasses import asdict
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

from dicom_factory import tilted, write_slice
from rsna19_kedro.ct.masks import StudyMask, align_mask, match_planes, read_mask
from rsna19_kedro.dicom.headers import read_headers
from rsna19_kedro.dicom.slice_index import headers_table, number_slices
from rsna19_kedro.dicom.studies import prepare_study
from rsna19_kedro.errors import InputError

TILT_DEG = float(np.rad2deg(np.arctan2(0.6, 0.8)))
ROWS, COLS = 24, 20
SPACING = (0.5, 0.4)


def write_tilted(folder: Path, z_mm: tuple[float, ...]) -> pd.DataFrame:
    """Write slices, from feet to head, with a bright block that starts at (5 + number, 7)."""
    for number, z in enumerate(z_mm):
        pixels = np.full((ROWS, COLS), 24)
        pixels[5 + number : 8 + number, 7:12] = 1024 + 60
        write_slice(
            folder / f"s{number}.dcm",
            position=(-4, -4, z),
            orientation=tilted(TILT_DEG),
            pixels=pixels,
            spacing=SPACING,
        )
    files = sorted(path.name for path in folder.glob("*.dcm"))
    rows = [{**row, "subset": "train"} for row in read_headers(folder, files)]
    return number_slices(headers_table(rows), folder)


def lps_affine(z_mm: tuple[float, ...]) -> np.ndarray:
    """Return the affine from voxels (column, row, slice) of the slices above to LPS."""
    affine = np.eye(4)
    affine[:3, 0] = np.array([1, 0, 0]) * SPACING[1]
    affine[:3, 1] = np.array([0, 0.8, 0.6]) * SPACING[0]
    affine[:3, 2] = (0, 0, (z_mm[-1] - z_mm[0]) / (len(z_mm) - 1))
    affine[:3, 3] = (-4, -4, z_mm[0])
    return affine


def true_mask(slices: int) -> np.ndarray:
    """Return (K, J, I) labels: the bright pixels of ``write_tilted``, type 1 + number % 5."""
    mask = np.zeros((slices, ROWS, COLS), dtype=np.uint8)
    for number in range(slices):
        mask[number, 5 + number : 8 + number, 7:12] = 1 + number % 5
    return mask


def save(path: Path, kji: np.ndarray, lps: np.ndarray) -> Path:
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(kji.transpose(2, 1, 0)), ras), path)
    return path


def flipped(kji: np.ndarray, lps: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the mask with one axis (0 column, 1 row, 2 slice) reversed."""
    size = kji.shape[2 - axis]
    turned = lps.copy()
    turned[:, 3] += turned[:, axis] * (size - 1)
    turned[:, axis] *= -1
    return np.flip(kji, axis=2 - axis), turned


@pytest.mark.parametrize("axes", [(), (0,), (1,), (2,), (0, 1, 2)])
def test_axes_may_run_either_way(tmp_path: Path, axes: tuple[int, ...]) -> None:
    z_mm = (0.0, 5.0, 10.0, 15.0)
    slices = write_tilted(tmp_path, z_mm)
    kji, lps = true_mask(4), lps_affine(z_mm)
    for axis in axes:
        kji, lps = flipped(kji, lps, axis)
    mask = read_mask(save(tmp_path / "m.nii.gz", kji, lps), slices)
    np.testing.assert_array_equal(np.stack(mask.slices), true_mask(4))  # type: ignore[arg-type]
    assert mask.lost_voxels == 0


def test_rows_and_columns_may_be_swapped(tmp_path: Path) -> None:
    z_mm = (0.0, 5.0, 10.0)
    slices = write_tilted(tmp_path, z_mm)
    lps = lps_affine(z_mm)[:, [1, 0, 2, 3]]
    path = save(tmp_path / "m.nii.gz", true_mask(3).swapaxes(1, 2), lps)
    np.testing.assert_array_equal(np.stack(read_mask(path, slices).slices), true_mask(3))  # type: ignore[arg-type]


def test_planes_are_found_by_position_not_by_number(tmp_path: Path) -> None:
    slices = write_tilted(tmp_path, (0.0, 5.0, 10.0, 15.0))
    # The mask starts one slice later and extends above the head.
    kji = np.concatenate([true_mask(4)[1:], np.full((2, ROWS, COLS), 6, np.uint8)])
    lps = lps_affine((0.0, 5.0, 10.0, 15.0))
    lps[2, 3] += 5
    mask = read_mask(save(tmp_path / "m.nii.gz", kji, lps), slices)
    assert mask.slices[0] is None
    np.testing.assert_array_equal(np.stack(mask.slices[1:]), true_mask(4)[1:])  # type: ignore[arg-type]
    assert mask.lost_voxels == 2 * ROWS * COLS


def test_a_finer_and_smaller_mask_is_resampled_by_position(tmp_path: Path) -> None:
    z_mm = (0.0, 5.0, 10.0)
    slices = write_tilted(tmp_path, z_mm)
    fine = true_mask(3).repeat(5, axis=0)[2:-2]  # 1 mm along the table, with the same ends.
    lps = lps_affine(z_mm)
    lps[:3, 2] /= 5
    lps[:3, 3] += 4 * lps[:3, 0] + 2 * lps[:3, 1]
    mask = read_mask(save(tmp_path / "m.nii.gz", fine[:, 2:22, 4:17], lps), slices)
    expected = true_mask(3)
    np.testing.assert_array_equal(np.stack(mask.slices), expected)  # type: ignore[arg-type]


def test_matching_of_planes() -> None:
    even = np.array([0.0, 5.0, 10.0, 15.0])
    assert match_planes(even, even).tolist() == [0, 1, 2, 3]
    assert match_planes(even[::-1], even).tolist() == [3, 2, 1, 0]
    assert match_planes(np.array([5.0, 10.0]), even).tolist() == [-1, 0, 1, -1]
    assert match_planes(np.array([5.0]), even).tolist() == [-1, 0, -1, -1]
    # 2.4 mm, then 5 mm: a grid of 3.7 mm with the same ends must have one plane per slice.
    uneven = np.array([0.0, 2.4, 4.8, 9.8, 14.8])
    assert match_planes(np.linspace(0, 14.8, 5), uneven).tolist() == [0, 1, 2, 3, 4]
    assert match_planes(np.linspace(0, 14.8, 5)[::-1], uneven).tolist() == [4, 3, 2, 1, 0]


def test_a_mask_is_aligned_like_its_volume(tmp_path: Path) -> None:
    z_mm = (0.0, 5.3, 10.6, 15.9)
    slices = write_tilted(tmp_path, z_mm)
    volume, record = prepare_study(slices, tmp_path, 16)
    mask = read_mask(save(tmp_path / "m.nii.gz", true_mask(4), lps_affine(z_mm)), slices)
    aligned = align_mask(mask, slices, pd.Series(asdict(record)), 16)
    assert aligned.dtype == np.int16
    for number in range(4):
        blood = np.argwhere(aligned[number] == 1 + number % 5)
        bright = np.argwhere(volume[number] > -470)  # Halfway between air and blood.
        if len(bright):
            assert np.abs(blood.mean(axis=0) - bright.mean(axis=0)).max() <= 0.5
    assert (aligned > 0).sum() > 15
    partial = StudyMask([None, *mask.slices[1:]], 0)
    assert (align_mask(partial, slices, pd.Series(asdict(record)), 16)[0] == -1).all()


def test_unusable_masks_are_refused(tmp_path: Path) -> None:
    z_mm = (0.0, 5.0, 10.0)
    slices = write_tilted(tmp_path, z_mm)
    wrong = save(tmp_path / "seven.nii.gz", np.full((3, ROWS, COLS), 7, np.uint8), lps_affine(z_mm))
    with pytest.raises(InputError, match=r"seven\.nii\.gz contains values 7\.\.7"):
        read_mask(wrong, slices)
    level = lps_affine(z_mm)
    level[:3, 1] = (0, SPACING[0], 0)
    turned = save(tmp_path / "level.nii.gz", true_mask(3), level)
    with pytest.raises(InputError, match=r"level\.nii\.gz are turned by 37 degrees"):
        read_mask(turned, slices)
    (tmp_path / "text.nii.gz").write_text("no mask")
    with pytest.raises(InputError, match=r"text\.nii\.gz cannot be read"):
        read_mask(tmp_path / "text.nii.gz", slices)
    lost = slices.assign(position_x=np.nan)
    with pytest.raises(InputError, match="no usable geometry"):
        read_mask(save(tmp_path / "m.nii.gz", true_mask(3), lps_affine(z_mm)), lost)
