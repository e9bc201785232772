from dataclasses import replace

import numpy as np
import pytest

from rsna19_kedro.phantoms import (
    Acquisition,
    Epidural,
    Head,
    Intraparenchymal,
    Intraventricular,
    PhantomSet,
    Subarachnoid,
    acquire,
    add_haemorrhages,
    build_study,
    make_head,
    plan_studies,
    sample_hu,
    sample_mask,
)
from rsna19_kedro.phantoms.brain import straighten, ventricles
from rsna19_kedro.phantoms.fields import Points
from rsna19_kedro.phantoms.lesions import KINDS
from rsna19_kedro.phantoms.sampling import inner_table
from rsna19_kedro.phantoms.skull import surface_depth, vault


def fine_grid(scan_step=2.0, reach=110.0):
    return tuple(np.arange(-60, 84, scan_step)), round(2 * reach)


def voxel_points(mask, acquisition):
    """Return the centres of the voxels of a mask in the patient frame, (N, 3)."""
    slices, rows, cols = np.nonzero(mask)
    row, col = np.array(acquisition.orientation).reshape(2, 3) * acquisition.pixel_spacing_mm
    return acquisition.positions()[slices] + cols[:, None] * row + rows[:, None] * col


def to_patient(head: Head, points: np.ndarray) -> np.ndarray:
    """Convert points (N, 3) from head coordinates to the patient frame, mm."""
    return (points * head.scale) @ head.rotation().T + head.offset_mm


def test_a_clot_has_the_volume_of_its_ellipsoid():
    axes = (10.0, 13.0, 15.0)
    clot = Intraparenchymal(65.0, (26.0, -2.0, 36.0), axes, roughness=0.0, oedema_mm=0.0)
    head = replace(make_head(3, [clot], average=True), scale=(1.1, 0.9, 1.0))
    positions = tuple(np.arange(16, 56, 2.0))
    scan = acquire(head, Acquisition(positions, size_px=220, pixel_spacing_mm=1.0), noise_hu=0)
    truth = 4 / 3 * np.pi * np.prod(axes) * 1.1 * 0.9
    assert (scan.mask == 2).sum() * 2.0 == pytest.approx(truth, rel=0.03)
    assert set(np.unique(scan.mask)) == {0, 2}


def test_depth_of_an_epidural_lens():
    surface = inner_table(make_head(4, average=True), (1, 0.2, 0.3))
    outwards = surface / np.linalg.norm(surface)
    lens = Epidural(66.0, tuple(surface + 20 * outwards), 32.0)  # The cap is 32 - 20 mm high.
    head = make_head(4, [lens], average=True)
    inside = np.arange(0.5, 25, 0.1)
    points = to_patient(head, surface - inside[:, None] * outwards)
    deep = inside[sample_mask(head, points) == 1]
    assert deep.min() < 1.0
    assert deep.max() == pytest.approx(12.0, abs=0.5)


@pytest.mark.parametrize(
    ("position", "low", "high"),
    [
        ((9, -12, 16), 4, 8),  # Frontal horn.
        ((10, 8, 4), 33, 41),  # Thalamus.
        ((24, 2, 40), 25, 33),  # Centrum semiovale.
        ((0, -20, -42), -1001, -900),  # Sphenoid sinus, beside the septum.
        ((9, -20, -42), -1001, -900),
        ((24, -62, -40), -100, 60),  # Orbit.
        ((120, 0, 0), -1000, -1000),  # Beside the head.
    ],
)
def test_tissues_have_their_hu(position, low, high):
    head = make_head(5, average=True)
    value = float(sample_hu(head, to_patient(head, np.array([position], float)))[0])
    assert low <= value <= high


def test_the_vault_has_scalp_outer_table_diploe_and_inner_table():
    head = make_head(6, average=True)
    thickness, middles, tables = [], [], []
    rays = np.random.default_rng(0).normal(size=(40, 3)) * (1, 1, 0.3) + (0, 0, 0.7)
    for ray in rays / np.linalg.norm(rays, axis=1, keepdims=True):
        start = inner_table(head, ray, start=(0, 0, 0))
        values = sample_hu(head, to_patient(head, start + np.arange(-3, 25, 0.1)[:, None] * ray))
        bone = np.flatnonzero(values > 300)
        thickness.append(np.ptp(bone) * 0.1)
        middles.append(values[(bone[0] + bone[-1]) // 2])
        tables.append(values[bone].max())
        assert values[-1] == -1000
    assert np.median(thickness) == pytest.approx(6.8, abs=1.2)
    assert np.mean(tables) == pytest.approx(1350, abs=120)
    assert 400 < np.median(middles) < 900  # The diploe between the tables.


def test_blood_is_50_to_80_hu_and_brighter_than_the_same_brain_without_it():
    clot = Intraparenchymal(65.0, (26.0, -2.0, 2.0), (12, 12, 12))
    head = make_head(7, [clot], average=True)
    centre = to_patient(head, np.array([[26.0, -2.0, 2.0]]))
    bleeding = sample_hu(head, centre)[0]
    healthy = sample_hu(replace(head, lesions=()), centre)[0]
    assert 55 < bleeding < 80
    assert 20 <= bleeding - healthy <= 45


@pytest.mark.parametrize("kind", KINDS)
def test_each_type_has_its_typical_position(kind):
    rng = np.random.default_rng(8)
    for seed in range(4):
        head = add_haemorrhages(rng, make_head(seed), [kind])
        positions = tuple(np.arange(-60, 85, 8.0) * head.scale[2] + head.offset_mm[2])
        how = Acquisition(positions, size_px=120, pixel_spacing_mm=2.0)
        scan = acquire(head, how, noise_hu=0)
        value = KINDS.index(kind) + 1
        assert set(np.unique(scan.mask)) <= {0, value}
        spots = head.to_head(voxel_points(scan.mask == value, how)).astype(np.float32)
        if not len(spots):
            continue  # A small haemorrhage can lie between slices 8 mm apart.
        assert scan.hu[scan.mask == value].mean() > head.calibration_hu + 42
        points = Points(*spots.T)
        inner = vault(head, points, *surface_depth(head, points)).inner
        assert inner.min() > -1.0  # Nothing outside the skull.
        if kind == "intraventricular":
            widest = max(x.widens_mm for x in head.lesions)
            assert ventricles(head, straighten(head, points), widest).min() > -0.6
        if kind in ("epidural", "subdural") and not getattr(head.lesions[0], "falx", False):
            assert inner.max() < 26


def test_ventricular_blood_settles_at_the_back():
    blood = Intraventricular(64.0, (40.0, 40.0, 100.0), 3.0)
    head = make_head(9, [blood], average=True)
    how = Acquisition(tuple(np.arange(-10, 24, 4.0)), size_px=200, pixel_spacing_mm=1.0)
    spots = head.to_head(voxel_points(acquire(head, how, noise_hu=0).mask == 3, how))
    assert len(spots) > 100
    assert spots[:, 1].min() > 34


def test_subarachnoid_blood_fills_csf_and_spares_the_brain():
    clean = make_head(10, average=True)
    head = replace(clean, lesions=(Subarachnoid(62.0, (0, -12, -18), (40, 36, 20), widens=0.0),))
    how = Acquisition((-22.0, -16.0), size_px=200, pixel_spacing_mm=1.0)
    before, after = acquire(clean, how, noise_hu=0).hu, acquire(head, how, noise_hu=0)
    assert (after.mask == 4).sum() > 100
    assert np.median(before[after.mask == 4]) < 22  # CSF before, partially at the edges.
    assert np.abs(after.hu - before)[(after.mask == 0) & (before > 28)].max() < 20


def test_noise_is_at_least_5_hu_and_correlated():
    head = make_head(11)
    how = Acquisition((20.0, 25.0), size_px=200, pixel_spacing_mm=1.0, noise_hu=6.5, streak_hu=0.0)
    noise = acquire(head, how, seed=1).hu - acquire(head, how, seed=1, noise_hu=0).hu
    middle = noise[:, 70:130, 70:130]
    assert 5.0 < middle.std() < 9.0
    assert abs(middle.mean()) < 0.5
    fine = replace(how, pixel_spacing_mm=0.5, size_px=400)
    grain = (acquire(head, fine, seed=1).hu - acquire(head, fine, noise_hu=0).hu)[
        :, 150:250, 150:250
    ]
    assert 0.15 < np.corrcoef(grain[..., 1:].ravel(), grain[..., :-1].ravel())[0, 1] < 0.8


def test_the_head_depends_only_on_the_seed():
    points = np.random.default_rng(0).uniform(-60, 60, (200, 3))
    first = sample_hu(make_head(12), points)
    np.testing.assert_array_equal(first, sample_hu(make_head(12), points))
    assert np.abs(first - sample_hu(make_head(13), points)).max() > 50


def test_a_set_contains_every_type_and_enough_small_haemorrhages():
    what = PhantomSet(seed=5, train_studies=40, test_studies=0, slices=(12, 14))
    plans = plan_studies(what)
    assert sum(bool(plan.kinds) for plan in plans) == 20
    areas = []
    for plan in plans:
        if plan.kinds:
            head, how = build_study(what, plan)
            coarse = replace(how, size_px=150, pixel_spacing_mm=1.5)
            mask = acquire(head, coarse, noise_hu=0).mask
            areas += [[(s == k).sum() * 2.25 for k in range(1, 6)] for s in mask]
    area = np.array(areas)
    positive = area.sum(axis=1) > 0
    slices = len(area) * 2  # The other half of the studies is normal.
    assert 0.2 < positive.sum() / slices < 0.4
    assert ((area > 0).sum(axis=0) / slices > 0.02).all()
    assert (area.sum(axis=1)[positive] < 100).mean() >= 0.25
