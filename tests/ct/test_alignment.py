import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from rsna19_kedro.contracts import PADDING_HU
from rsna19_kedro.ct.alignment import (
    FLOOR_HU,
    Placement,
    aligned_grid,
    cubic_weights,
    place_labels,
    place_slice,
    slice_shifts,
)
from rsna19_kedro.ct.crop import assemble
from rsna19_kedro.ct.geometry import study_geometry
from rsna19_kedro.ct.study_volume import study_frame
from rsna19_kedro.dicom.headers import read_headers
from rsna19_kedro.dicom.pixels import read_hu
from rsna19_kedro.dicom.slice_index import headers_table, number_slices
from rsna19_kedro.phantoms import Acquisition, Scan, acquire, make_head

pytestmark = pytest.mark.slow


def placed(hu: np.ndarray, shift: tuple[float, float], size: tuple[int, int]) -> np.ndarray:
    """Shift a slice, in a window at its original position."""
    grid = aligned_grid([(0, 0), shift], [hu.shape, hu.shape])
    window = np.full(size, PADDING_HU, dtype=np.int16)
    origin = grid.placements[0]
    place_slice(hu, grid.placements[1], window, (origin.row, origin.col))
    return window


@given(st.floats(0, 1))
def test_weights_sum_to_one_and_reproduce_polynomials_of_second_degree(fraction: float) -> None:
    weights = cubic_weights(fraction).astype(float)
    at = np.array([-1.0, 0.0, 1.0, 2.0])
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    assert weights @ at == pytest.approx(fraction, abs=1e-6)
    assert weights @ at**2 == pytest.approx(fraction**2, abs=1e-6)


def test_weights_at_a_pixel_and_half_way() -> None:
    np.testing.assert_array_equal(cubic_weights(0), [0, 1, 0, 0])
    np.testing.assert_allclose(cubic_weights(0.5), [-1 / 16, 9 / 16, 9 / 16, -1 / 16])


def test_shifts_of_three_slices_computed_by_hand() -> None:
    # Column direction (0, 0.8, 0.6): a table step of 10 mm moves the first pixel by 6 mm along
    # it, that is by 12 rows of 0.5 mm, and not along the rows.
    orientation = np.tile([1, 0, 0, 0, 0.8, 0.6], (3, 1))
    geometry = study_geometry([(-4, -4, 0), (-4, -4, 10), (-4, -4, 15)], orientation)
    shifts = slice_shifts(geometry.row_offset_mm, geometry.col_offset_mm, 0.5, 0.25)
    np.testing.assert_allclose(shifts, [(-12, 0), (0, 0), (6, 0)], atol=1e-9)
    np.testing.assert_allclose(geometry.position_mm[1:] - geometry.position_mm[:-1], [8, 4])


def test_columns_shift_by_the_column_spacing() -> None:
    shifts = slice_shifts([0, 2, 5], [0, 0, 1], row_spacing_mm=0.5, col_spacing_mm=0.25)
    np.testing.assert_allclose(shifts, [(0, -8), (0, 0), (2, 12)])


def test_grid_contains_every_slice_completely() -> None:
    grid = aligned_grid([(-12.4, 0), (0, 0), (6.3, 1.5)], [(20, 10)] * 3)
    assert (grid.rows, grid.cols) == (20 + 12 + 6, 10 + 2)
    assert [placement.row for placement in grid.placements] == [0, 12, 18]
    assert [placement.col for placement in grid.placements] == [0, 0, 2]
    rest = [(placement.row_fraction, placement.col_fraction) for placement in grid.placements]
    np.testing.assert_allclose(rest, [(-0.4, 0), (0, 0), (0.3, -0.5)], atol=1e-12)


@given(
    st.lists(st.tuples(st.floats(-90, 90), st.floats(-9, 9)), min_size=1, max_size=6),
    st.integers(1, 40),
)
def test_grid_is_the_smallest_without_truncation(shifts: list, rows: int) -> None:
    grid = aligned_grid(shifts, [(rows, 7)] * len(shifts))
    tops = np.array([placement.row for placement in grid.placements])
    assert tops.min() == 0
    assert tops.max() + rows == grid.rows
    for placement in grid.placements:
        window = np.full((grid.rows, grid.cols), PADDING_HU, dtype=np.int16)
        place_slice(np.full((rows, 7), 30, dtype=np.int16), placement, window, (0, 0))
        assert (window == 30).sum() == rows * 7
        assert ((window == 30) | (window == PADDING_HU)).all()


def test_integer_shifts_do_not_change_pixels() -> None:
    hu = np.arange(20, dtype=np.int16).reshape(4, 5)
    window = placed(hu, (1, -2), (6, 5))
    np.testing.assert_array_equal(window[1:5, :3], hu[:, 2:])
    assert (window[0] == PADDING_HU).all()
    assert (window[5] == PADDING_HU).all()
    assert (window[:, 3:] == PADDING_HU).all()


@pytest.mark.parametrize("shift", [0.25, -0.25, 0.5, -0.4, 3.3, -2.7])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_parabola_is_shifted_exactly(shift: float, axis: int) -> None:
    position = np.arange(40.0)
    hu = np.rint(np.broadcast_to((position[:, None] - 18) ** 2, (40, 40))).astype(np.int16)
    expected = np.broadcast_to((position[:, None] - shift - 18) ** 2, (40, 40))
    both = (shift, 0.0) if axis == 0 else (0.0, shift)
    window = placed(hu if axis == 0 else hu.T, both, (40, 40))
    moved = window if axis == 0 else window.T
    assert np.abs(moved[6:-6].astype(float) - expected[6:-6]).max() <= 0.5


def test_padding_outside_the_field_of_view_causes_no_ringing() -> None:
    hu = np.full((20, 20), -1000, dtype=np.int16)
    hu[:10] = -3024
    hu[15] = 1000
    window = placed(hu, (0.5, 0.0), (20, 20))
    inside = window[1:20]
    assert inside.min() == FLOOR_HU
    assert window[8:14].min() >= FLOOR_HU
    assert window[11].max() == pytest.approx(-1000, abs=2)


def test_windows_beside_the_slice_stay_empty() -> None:
    hu = np.zeros((4, 4), dtype=np.int16)
    for corner in ((50, 0), (-50, 0), (0, 50), (0, -50)):
        window = np.full((5, 5), PADDING_HU, dtype=np.int16)
        place_slice(hu, Placement(0, 0, 0.3, 0.0), window, corner)
        assert (window == PADDING_HU).all()


def test_labels_are_shifted_like_their_pixels() -> None:
    labels = np.zeros((30, 30), dtype=np.uint8)
    labels[10:13, 7:9] = 3
    hu = np.where(labels == 3, 900, 0).astype(np.int16)
    grid = aligned_grid([(0, 0), (5.4, -2.6)], [(30, 30)] * 2)
    image, moved = np.zeros((2, 40, 40), dtype=np.int16)
    place_slice(hu, grid.placements[1], image, (0, 0))
    place_labels(labels, grid.placements[1], moved, (0, 0))
    assert (moved == 3).sum() == 6
    assert np.argwhere(moved == 3).mean(axis=0) == pytest.approx(
        np.average(np.indices(image.shape).reshape(2, -1).T, axis=0, weights=image.ravel()), abs=0.6
    )


EVEN_MM = tuple(7.0 * np.arange(-3, 4))
UNEVEN_MM = (-21.0, -18.6, -13.0, 0.0, 5.0, 15.0, 20.0)


def aligned_scan(scan: Scan, size_px: int) -> np.ndarray:
    """Align a scan and crop it around the middle of its middle slice."""
    acquisition = scan.acquisition
    slices = np.rint(scan.hu).astype(np.int16)
    orientation = np.tile(acquisition.orientation, (len(slices), 1))
    geometry = study_geometry(acquisition.positions(), orientation)
    spacing = acquisition.pixel_spacing_mm
    shifts = slice_shifts(geometry.row_offset_mm, geometry.col_offset_mm, spacing, spacing)
    grid = aligned_grid(shifts, [hu.shape for hu in slices])
    middle = grid.placements[len(slices) // 2]
    half = acquisition.size_px // 2
    return assemble(list(slices), grid, (middle.row + half, middle.col + half), size_px)


def row_shift(moved: np.ndarray, fixed: np.ndarray, where: np.ndarray) -> float:
    """Return the displacement in rows between two images (Lucas and Kanade 1981)."""
    slope = np.gradient((moved + fixed) / 2, axis=0)[where]
    return float(-(slope * (moved - fixed)[where]).sum() / (slope**2).sum())


@pytest.mark.parametrize(
    ("table_mm", "tilt_deg"), [(EVEN_MM, 18.5), (UNEVEN_MM, -24.0)], ids=["even", "uneven"]
)
def test_aligned_tilted_scan_equals_a_scan_of_the_rotated_head_without_tilt(
    table_mm: tuple[float, ...], tilt_deg: float
) -> None:
    head = make_head(11)
    pixels = {"size_px": 340, "pixel_spacing_mm": 0.7, "holder_hu": None, "circle": False}
    tilted = Acquisition(table_mm, tilt_deg=tilt_deg, **pixels)
    level_mm = tuple(np.array(table_mm) * np.cos(np.deg2rad(tilt_deg)))
    level = Acquisition(level_mm, head_rotation_deg=tilt_deg, **pixels)
    volume = aligned_scan(acquire(head, tilted, noise_hu=0), 300).astype(float)
    truth = acquire(head, level, noise_hu=0).hu[:, 20:320, 20:320]
    brain = np.stack([head_inside(image) for image in truth])
    assert brain.mean() > 0.15
    assert np.abs(volume - truth)[brain].mean() < 1  # Required: below 10.
    for moved, fixed, inside in zip(volume, truth, brain, strict=True):
        bone = (fixed > 100) & (moved > FLOOR_HU)
        for structures in (inside, bone):
            assert abs(row_shift(moved, fixed, structures)) < 0.25  # Required: below 0.5.
            assert abs(row_shift(moved.T, fixed.T, structures.T)) < 0.25
        assert row_shift(np.roll(fixed, 1, axis=0), fixed, bone) > 0.5  # Detects one pixel.
        mass = [centroid(image.clip(-1000) + 1000) for image in (moved, fixed)]
        assert np.abs(mass[0] - mass[1]).max() < 0.25


def centroid(weights: np.ndarray) -> np.ndarray:
    indices = np.indices(weights.shape).reshape(2, -1)
    return np.asarray(indices @ weights.ravel() / weights.sum())


def head_inside(hu: np.ndarray) -> np.ndarray:
    """Return the inside of the skull, some pixels away from the bone."""
    open_part = ndimage.binary_opening((hu > -20) & (hu < 90), iterations=4)
    parts, count = ndimage.label(open_part)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    return np.asarray(ndimage.binary_erosion(parts == 1 + sizes.argmax(), iterations=3))


@pytest.fixture(scope="module")
def tilted_studies(rsna_sample: Path, open_ct: Path) -> list[tuple[Path, pd.DataFrame]]:
    studies = []
    for root in (rsna_sample, open_ct / "ge_tilted_head"):
        files = sorted(str(path.relative_to(root)) for path in root.rglob("*.dcm"))
        rows = [{**row, "subset": "train"} for row in read_headers(root, files)]
        index = number_slices(headers_table(rows), root)
        tilted = index[index["tilt_deg"].abs() > 0.1]
        studies += [(root, slices) for _, slices in tilted.groupby("study_id")]
    return studies


@pytest.mark.real_data
def test_real_shifts_equal_those_of_simpleitk(
    tilted_studies: list[tuple[Path, pd.DataFrame]],
) -> None:
    assert len(tilted_studies) == 8
    for root, slices in tilted_studies:
        images = [sitk.ReadImage(str(root / path)) for path in slices["path"]]
        middle = images[len(images) // 2]
        expected = []
        for image in images:
            first_pixel = image.TransformIndexToPhysicalPoint((0, 0, 0))
            col, row, _ = middle.TransformPhysicalPointToContinuousIndex(first_pixel)
            expected.append((row, col))
        shifts = study_frame(slices).shifts
        assert np.abs(shifts - expected).max() < 0.1
        assert np.abs(shifts).max() > 5


@pytest.mark.real_data
def test_alignment_maximises_the_correlation_of_real_neighbours(
    tilted_studies: list[tuple[Path, pd.DataFrame]],
) -> None:
    uneven = 0
    for root, slices in tilted_studies:
        frame = study_frame(slices)
        hu = [read_hu(root / path) for path in slices["path"]]
        aligned = neighbour_correlation(hu, frame.shifts)
        assert aligned > neighbour_correlation(hu, -frame.shifts) + 0.005
        distance = np.diff(frame.position_mm)
        if distance.max() > 1.1 * distance.min():
            uneven += 1
            number = np.arange(len(hu)) - len(hu) // 2
            for step_mm in (distance.mean(), np.median(distance)):
                rows = np.tan(np.deg2rad(frame.tilt_deg)) * step_mm / frame.row_spacing_mm
                by_index = np.stack([rows * number, np.zeros(len(hu))], axis=1)
                assert np.sign(by_index[0, 0]) == np.sign(frame.shifts[0, 0])
                assert aligned > neighbour_correlation(hu, by_index)
    assert uneven >= 1


def neighbour_correlation(hu: list[np.ndarray], shifts: np.ndarray) -> float:
    """Return the mean correlation of neighbouring slices in the HU range of the brain."""
    grid = aligned_grid(shifts, [image.shape for image in hu])
    middle = grid.placements[len(hu) // 2]
    volume = assemble(hu, grid, (middle.row + 256, middle.col + 256), 512)
    correlations = []
    for lower, upper in itertools.pairwise(volume):
        both = (lower > PADDING_HU) & (upper > PADDING_HU)
        pair = np.stack([lower[both], upper[both]]).clip(0, 100)
        if (pair.std(axis=1) > 0).all():
            correlations.append(np.corrcoef(pair)[0, 1])
    return float(np.mean(correlations))
