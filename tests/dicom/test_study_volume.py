from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dicom_factory import AXIAL, tilted, write_slice, write_study
from rsna19_kedro.contracts import PADDING_HU
from rsna19_kedro.ct.study_volume import resample_slice
from rsna19_kedro.dicom.headers import read_headers
from rsna19_kedro.dicom.slice_index import headers_table, number_slices
from rsna19_kedro.dicom.studies import prepare_study
from rsna19_kedro.errors import InputError


def index(folder: Path) -> pd.DataFrame:
    files = sorted(path.name for path in folder.iterdir())
    rows = [{**row, "subset": "train"} for row in read_headers(folder, files)]
    table = number_slices(headers_table(rows), folder)
    return table[table["slice_num"].notna()]


def square(hu: int, shape: tuple[int, int] = (32, 32), top: int = 12) -> np.ndarray:
    """Return stored values of air with a square of 8 x 8 pixels."""
    pixels = np.full(shape, 24)
    pixels[top : top + 8, 12:20] = hu + 1024
    return pixels


def write_squares(folder: Path, z_mm: list[float], **tags: object) -> None:
    for number, z in enumerate(z_mm):
        write_slice(
            folder / f"{9 - number}.dcm", position=(-8, -8, z), pixels=square(10 + number), **tags
        )


def test_slices_are_in_order_and_cropped_around_the_head(tmp_path: Path) -> None:
    write_squares(tmp_path, [10, 0, 5])  # Files 9, 8, 7: 8, 7, 9 from feet to head.
    volume, record = prepare_study(index(tmp_path), tmp_path, 16)
    assert volume.shape == (3, 16, 16)
    assert volume.dtype == np.int16
    expected = np.full((3, 16, 16), -1000)
    expected[:, 4:12, 4:12] = np.array([11, 12, 10])[:, None, None]
    np.testing.assert_array_equal(volume, expected)
    assert (record.rows, record.cols, record.crop_row, record.crop_col) == (32, 32, 16, 16)
    assert record.alignment == "aligned"
    assert record.slice_distance_mm == 5
    assert (record.row_spacing_mm, record.col_spacing_mm, record.tilt_deg) == (0.5, 0.5, 0)
    assert not record.distances_uneven
    assert record.repaired == []


def test_crop_outside_the_slice_is_padding(tmp_path: Path) -> None:
    write_squares(tmp_path, [0])
    volume, record = prepare_study(index(tmp_path), tmp_path, 40)
    assert (volume[0, 4:36, 4:36] > PADDING_HU).all()
    assert (volume == PADDING_HU).sum() == 40 * 40 - 32 * 32
    assert record.slices == 1
    assert np.isnan(record.slice_distance_mm)


def test_a_tilted_column_becomes_straight(tmp_path: Path) -> None:
    # sin and cos are 0.6 and 0.8; a table step of 5 mm shifts the columns by 3 mm, or 6 rows.
    tilt_deg = float(np.rad2deg(np.arctan2(0.6, 0.8)))
    for number, z in enumerate([0, 5, 15]):
        pixels = square(30, top=18 - 6 * (0, 1, 3)[number])
        position = (-8, -8, z)
        write_slice(
            tmp_path / f"{number}.dcm",
            position=position,
            orientation=tilted(tilt_deg),
            pixels=pixels,
        )
    volume, record = prepare_study(index(tmp_path), tmp_path, 16)
    np.testing.assert_allclose(record.row_shifts_px, [-6, 0, 12], atol=1e-4)
    assert record.rows == 32 + 18
    assert record.tilt_deg == pytest.approx(36.87, abs=0.01)
    assert record.distances_uneven
    assert record.slice_distance_mm == pytest.approx(6)
    np.testing.assert_array_equal(volume[:, 4:12, 4:12], 30)
    assert (volume[:, :3] <= -1000).all()


def test_a_truncated_slice_is_replaced_by_its_neighbour(tmp_path: Path) -> None:
    write_squares(tmp_path, [0, 5, 10])
    write_slice(tmp_path / "cut.dcm", position=(-8, -8, 12), pixels=square(99), pixel_bytes=700)
    slices = index(tmp_path)
    assert slices["path"].iloc[3] == "cut.dcm"
    volume, record = prepare_study(slices, tmp_path, 16)
    assert len(volume) == 4
    assert volume[:, 8, 8].tolist() == [10, 11, 12, 12]
    assert record.repaired == [3]
    assert "cut.dcm" in record.repairs[0]
    assert str(tmp_path) not in record.repairs[0]
    assert record.slice_checksums[3] == ""
    assert len(set(record.slice_checksums)) == 4


def test_of_two_neighbours_the_one_closer_to_the_feet_is_used(tmp_path: Path) -> None:
    write_squares(tmp_path, [0, 10])
    write_slice(tmp_path / "cut.dcm", position=(-8, -8, 5), pixels=square(99), pixel_bytes=9)
    volume, _ = prepare_study(index(tmp_path), tmp_path, 16)
    assert volume[:, 8, 8].tolist() == [10, 10, 11]


def test_a_study_without_a_readable_slice_is_an_error(tmp_path: Path) -> None:
    write_slice(tmp_path / "cut.dcm", pixel_bytes=9)
    with pytest.raises(InputError, match=r"none of its slices.*cut\.dcm"):
        prepare_study(index(tmp_path), tmp_path, 16)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"orientation": (0, 1, 0, 0, 0, -1)}, "not axial"),
        ({"drop": ("ImagePositionPatient",)}, "ImagePositionPatient is missing"),
        ({"drop": ("ImageOrientationPatient",)}, "ImageOrientationPatient is missing"),
        ({"orientation": (1, 0, 0, 0, 0, 0)}, "ImageOrientationPatient is missing or invalid"),
        ({"drop": ("PixelSpacing",)}, "PixelSpacing is missing"),
    ],
)
def test_without_a_usable_geometry_slices_are_not_aligned(
    tmp_path: Path, tags: dict[str, object], reason: str
) -> None:
    for number in range(3):
        position = (-8.0 - 3 * number, -8.0 - 2 * number, 5.0 * number)
        pixels = square(10 + number)
        write_slice(tmp_path / f"{number}.dcm", pixels=pixels, **{"position": position, **tags})
    volume, record = prepare_study(index(tmp_path), tmp_path, 16)
    assert record.alignment.startswith("plain stack: ")
    assert reason in record.alignment
    assert record.row_shifts_px == [0, 0, 0]
    assert np.isnan(record.tilt_deg)
    assert sorted(volume[:, 8, 8].tolist()) == [10, 11, 12]
    assert (volume[:, 4:12, 4:12] >= 10).all()


def test_slices_that_are_not_parallel_are_not_aligned(tmp_path: Path) -> None:
    for number, orientation in enumerate((AXIAL, AXIAL, tilted(15))):
        position = (-8, -8 - number, 5.0 * number)
        write_slice(
            tmp_path / f"{number}.dcm",
            position=position,
            orientation=orientation,
            pixels=square(10),
        )
    _, record = prepare_study(index(tmp_path), tmp_path, 16)
    assert record.alignment == "plain stack: the slices are not parallel"


def test_slices_of_different_sizes_are_aligned_by_position(tmp_path: Path) -> None:
    write_squares(tmp_path, [0, 5])
    # Ten more rows in front, as the first row is 5 mm further anterior; four columns fewer.
    large = square(50, shape=(42, 28), top=22)
    write_slice(tmp_path / "large.dcm", position=(-8, -13, 10), pixels=large)
    volume, record = prepare_study(index(tmp_path), tmp_path, 16)
    assert (record.rows, record.cols) == (42, 32)
    np.testing.assert_array_equal(volume[2, 4:12, 4:12], 50)
    np.testing.assert_array_equal(volume[0, 4:12, 4:12], 10)


def test_another_spacing_is_resampled_to_the_common_one(tmp_path: Path) -> None:
    write_squares(tmp_path, [0, 5])
    coarse = np.full((16, 16), 24)
    coarse[6:10, 6:10] = 1024 + 50
    write_slice(tmp_path / "coarse.dcm", position=(-8, -8, 10), pixels=coarse, spacing=(1.0, 1.0))
    volume, record = prepare_study(index(tmp_path), tmp_path, 16)
    assert record.row_spacing_mm == 0.5
    rows, cols = np.nonzero(volume[2] == 50)
    assert (len(rows), np.ptp(rows), np.ptp(cols)) == (49, 6, 6)  # 4 pixels span 3 mm.
    rows, cols = np.nonzero(volume[0] == 10)
    assert (len(rows), np.ptp(rows), np.ptp(cols)) == (64, 7, 7)


def test_resampling_keeps_the_first_pixel_and_straight_lines() -> None:
    ramp = np.broadcast_to(10 * np.arange(6), (4, 6)).astype(np.int16)
    fine = resample_slice(ramp, np.array([1.0, 2.0]))
    assert fine.shape == (4, 11)
    np.testing.assert_array_equal(fine[0], 5 * np.arange(11))
    np.testing.assert_array_equal(resample_slice(fine, np.array([1.0, 0.5])), ramp)


def test_shape_need_not_be_square_or_512(tmp_path: Path) -> None:
    write_slice(tmp_path / "a.dcm", pixels=square(20, shape=(24, 40)))
    volume, record = prepare_study(index(tmp_path), tmp_path, 16)
    assert (record.rows, record.cols) == (24, 40)
    np.testing.assert_array_equal(volume[0, 4:12, 4:12], 20)


def test_noise_and_constant_slices_pass(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-30000, 30000, (16, 16))
    write_slice(tmp_path / "a.dcm", pixels=noise, position=(-4, -4, 0))
    write_slice(tmp_path / "b.dcm", pixels=np.zeros((16, 16)), position=(-4, -4, 5))
    volume, _ = prepare_study(index(tmp_path), tmp_path, 16)
    assert (volume[1] >= -1024).sum() + (volume[1] == PADDING_HU).sum() == volume[1].size
    assert volume[0].std() > 5000


def test_equal_pixels_of_two_studies_have_equal_checksums(tmp_path: Path) -> None:
    write_study(tmp_path, "one", z_mm=(0, 5))
    write_study(tmp_path, "two", z_mm=(0, 5), tilt_deg=10)
    table = index(tmp_path)
    records = [prepare_study(part, tmp_path, 16)[1] for _, part in table.groupby("study_id")]
    assert records[0].slice_checksums == records[1].slice_checksums
    assert len(records[0].slice_checksums[0]) == 20
