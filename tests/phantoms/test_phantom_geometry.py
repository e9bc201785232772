import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsna19_kedro.contracts import PADDING_HU
from rsna19_kedro.ct.geometry import study_geometry
from rsna19_kedro.phantoms import Acquisition, Intraparenchymal, acquire, make_head, sample_hu
from rsna19_kedro.phantoms.fields import Plane, Points, capsule, ellipsoid, wave_field

CLOT = Intraparenchymal(66.0, (26.0, -2.0, 20.0), (12, 14, 16))


@pytest.mark.parametrize("tilt", [-24.0, 17.0])
def test_a_tilted_scan_equals_a_scan_of_the_rotated_head(tilt):
    """Slice z of a scan tilted by t is slice z cos(t) of the head rotated by t, moved z sin(t)."""
    head = make_head(1, [CLOT])
    rows = np.array([-25, -6, 0, 4, 20, 31])  # Shifts by an integer number of rows.
    z = rows / np.sin(np.deg2rad(tilt))
    plain = {"pixel_spacing_mm": 1.0, "size_px": 260, "circle": False}
    tilted = acquire(head, Acquisition(tuple(z), tilt_deg=tilt, **plain), noise_hu=0)
    level = Acquisition(tuple(z * np.cos(np.deg2rad(tilt))), head_rotation_deg=tilt, **plain)
    turned = acquire(head, level, noise_hu=0)
    for k, move in enumerate(rows):
        expected = np.roll(turned.hu[k], -move, axis=0)[40:-40]
        difference = np.abs(tilted.hu[k][40:-40] - expected)
        assert np.quantile(difference, 0.999) < 0.5
        moved = np.roll(turned.mask[k], -move, axis=0)[40:-40]
        assert (tilted.mask[k][40:-40] != moved).sum() <= 3
    assert (tilted.mask > 0).sum() > 100


@given(
    tilt=st.floats(-25, 25),
    z=st.lists(st.floats(-80, 90), min_size=2, max_size=6, unique=True),
)
@settings(max_examples=30, deadline=None)
def test_positions_advance_along_the_table_and_have_the_tilt(tilt, z):
    how = Acquisition(tuple(z), tilt_deg=tilt, pixel_spacing_mm=0.5, size_px=400)
    positions = how.positions()
    assert np.ptp(positions[:, :2], axis=0) == pytest.approx([0, 0])
    np.testing.assert_allclose(np.diff(positions[:, 2]), np.diff(z), atol=1e-9)
    geometry = study_geometry(positions, np.tile(how.orientation, (len(z), 1)))
    assert geometry.tilt_deg == pytest.approx(tilt, abs=1e-6)
    np.testing.assert_allclose(
        np.diff(geometry.position_mm), np.diff(z) * np.cos(np.deg2rad(tilt)), atol=1e-9
    )


def test_pixels_show_the_head_at_their_patient_coordinates():
    head = make_head(2, [CLOT])
    how = Acquisition(
        (10.0, 17.0), tilt_deg=20, pixel_spacing_mm=2.0, size_px=110, thickness_mm=0, circle=False
    )
    scan = acquire(head, how, noise_hu=0)
    row, col = np.array(how.orientation).reshape(2, 3)
    for k, corner in enumerate(how.positions()):
        r, c = np.mgrid[:110, :110]
        points = corner + 2.0 * (c[..., None] * row + r[..., None] * col)
        difference = np.abs(scan.hu[k] - sample_hu(head, points))
        assert difference.max() < 4  # Single precision at edges of 1000 HU per mm.
        assert difference.mean() < 0.02


def test_the_affine_gives_patient_coordinates_and_refuses_uneven_distances():
    how = Acquisition((-10.0, -3.0, 4.0), tilt_deg=-15, pixel_spacing_mm=4.0, size_px=50)
    scan = acquire(make_head(3), how, noise_hu=0)
    row, col = np.array(how.orientation).reshape(2, 3) * 4.0
    for c, r, k in [(0, 0, 0), (10, 20, 1), (49, 3, 2)]:
        expected = how.positions()[k] + c * row + r * col
        np.testing.assert_allclose((scan.affine() @ [c, r, k, 1])[:3], expected, atol=1e-9)
    uneven = Acquisition((-10.0, -7.5, -2.5), pixel_spacing_mm=4.0, size_px=50)
    with pytest.raises(ValueError, match="distances are uneven"):
        acquire(make_head(3), uneven, noise_hu=0).affine()


def test_pixels_outside_the_field_of_view_are_padding():
    how = Acquisition((0.0,), pixel_spacing_mm=2.0, size_px=120)
    image = acquire(make_head(4), how).hu[0]
    assert image[0, 0] == PADDING_HU
    assert image[60, 60] > -100
    assert (image == PADDING_HU).mean() == pytest.approx(1 - np.pi / 4, abs=0.03)


@given(
    centre=st.tuples(*[st.floats(-20, 20)] * 3),
    radius=st.floats(1, 30),
    point=st.tuples(*[st.floats(-60, 60)] * 3),
)
@settings(max_examples=60, deadline=None)
def test_distances_into_a_ball(centre, radius, point):
    points = Points(*(np.array([value], np.float32) for value in point))
    expected = radius - np.linalg.norm(np.subtract(point, centre))
    ball = ellipsoid(points, centre, (radius,) * 3)[0]
    assert ball == pytest.approx(expected, abs=1e-3)
    end = np.add(centre, (0.0, 0.0, 1e-3))
    assert capsule(points, centre, end, (radius, radius))[0] == pytest.approx(expected, abs=2e-3)


def test_a_field_on_a_plane_equals_the_field_at_its_points():
    rng = np.random.default_rng(0)
    field = wave_field(rng, 5, 40)
    plane = Plane(rng.normal(size=3) * 40, rng.normal(size=3), rng.normal(size=3), (30, 20))
    np.testing.assert_allclose(field.on(plane), field.at(*plane.coordinates()), atol=2e-3)
    assert field.at(*rng.uniform(-900, 900, (3, 40_000)).astype(np.float32)).std() == pytest.approx(
        1, abs=0.05
    )
