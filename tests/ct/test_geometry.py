import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_factory import AXIAL, tilted
from rsna19_kedro.ct.geometry import (
    is_axial,
    order_slices,
    slice_normal,
    study_geometry,
    tilt_deg,
    valid_orientation,
)

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)
PRONE = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
MIRRORED = (-1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

angles = st.floats(-30, 30)


@pytest.mark.parametrize("angle", [-24.0, -9.5, 0.0, 6.0, 26.0])
def test_tilt_equals_the_angle_of_the_column_direction(angle: float):
    frame = tilted(angle)
    assert tilt_deg(frame) == pytest.approx(angle)
    assert tilt_deg(frame) == pytest.approx(np.rad2deg(np.arctan(frame[5] / frame[4])))


def test_tilt_of_a_real_orientation():
    frame = (1, 0, 0, 0, 0.913545458, -0.406736643)  # atan(-0.4452) = -24 degrees
    assert tilt_deg(frame) == pytest.approx(-24.0, abs=1e-4)


@pytest.mark.parametrize("frame", [SAGITTAL, CORONAL])
def test_slices_along_the_body_have_no_tilt(frame: tuple[float, ...]):
    assert not is_axial(frame)
    assert np.isnan(tilt_deg(frame))


@settings(deadline=None, max_examples=50)
@given(angle=angles, turn=st.floats(0, 2 * np.pi), mirrored=st.booleans())
def test_tilt_does_not_depend_on_rotation_or_mirroring_in_the_plane(angle, turn, mirrored):
    frame = np.array(tilted(angle)).reshape(2, 3)
    row = np.cos(turn) * frame[0] + np.sin(turn) * frame[1]
    col = np.cos(turn) * frame[1] - np.sin(turn) * frame[0]
    turned = np.concatenate([-row if mirrored else row, col])
    assert tilt_deg(turned) == pytest.approx(angle, abs=1e-6)
    assert slice_normal(turned)[2] > 0


@pytest.mark.parametrize("frame", [AXIAL, PRONE, MIRRORED])
def test_normal_points_to_the_head(frame: tuple[float, ...]):
    np.testing.assert_allclose(slice_normal(frame), [0, 0, 1], atol=1e-12)


def test_normal_without_a_head_end_points_left_or_back():
    np.testing.assert_allclose(slice_normal(SAGITTAL), [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(slice_normal(CORONAL), [0, 1, 0], atol=1e-12)


@settings(deadline=None, max_examples=50)
@given(angle=angles, step=st.floats(0.5, 10))
def test_a_table_step_under_a_tilted_gantry(angle, step):
    # The table moves along z: by cos(tilt) across the slices, by sin(tilt) along the columns.
    geometry = study_geometry([[-125, -140, 60], [-125, -140, 60 + step]], [tilted(angle)] * 2)
    radians = np.deg2rad(angle)
    assert np.diff(geometry.position_mm)[0] == pytest.approx(step * np.cos(radians))
    assert np.diff(geometry.col_offset_mm)[0] == pytest.approx(step * np.sin(radians), abs=1e-9)
    assert np.diff(geometry.row_offset_mm)[0] == pytest.approx(0, abs=1e-9)
    assert geometry.tilt_deg == pytest.approx(angle, abs=1e-9)


def test_offsets_follow_row_and_column_directions():
    g = study_geometry([[1.0, 2.0, 3.0]], [AXIAL])
    assert (g.row_offset_mm[0], g.col_offset_mm[0], g.position_mm[0]) == (1, 2, 3)


def test_the_most_common_orientation_is_used_and_mixtures_are_detected():
    frames = [AXIAL, SAGITTAL, AXIAL]
    geometry = study_geometry(np.zeros((3, 3)), frames)
    np.testing.assert_allclose(geometry.normal, [0, 0, 1])
    assert geometry.axial
    assert not geometry.parallel
    assert study_geometry(np.zeros((3, 3)), [tilted(10)] * 3).parallel


def test_slices_at_one_position_are_sorted_by_uid():
    position = [5.0, 0.0, 5.0 + 1e-9, 0.0]
    assert order_slices(position, ["b", "z", "a", "y"]).tolist() == [3, 1, 2, 0]


def test_slices_without_a_position_come_last_by_name():
    position = [np.nan, 1.0, np.nan, 0.0]
    assert order_slices(position, ["b", "c", "a", "d"]).tolist() == [3, 1, 2, 0]


def test_order_of_one_slice_and_of_none():
    assert order_slices([3.0], ["a"]).tolist() == [0]
    assert order_slices([], []).tolist() == []


@settings(deadline=None, max_examples=50)
@given(
    steps=st.lists(st.sampled_from([0.0, 0.6, 2.4, 5.0, 10.0]), min_size=1, max_size=30),
    seed=st.integers(0, 2**32 - 1),
)
def test_order_does_not_depend_on_the_order_of_files(steps, seed):
    position = np.cumsum(steps)
    names = np.array([f"ID_{i:04d}" for i in range(len(position))])
    mixed = np.random.default_rng(seed).permutation(len(position))
    order = order_slices(position[mixed], names[mixed].tolist())
    assert mixed[order].tolist() == list(range(len(position)))


def test_valid_orientation_needs_perpendicular_unit_vectors():
    frames = [AXIAL, (1, 0, 0, 1, 0, 0), (2, 0, 0, 0, 1, 0), (np.nan,) * 6, (0,) * 6, tilted(20)]
    assert valid_orientation(frames).tolist() == [True, False, False, False, False, True]
