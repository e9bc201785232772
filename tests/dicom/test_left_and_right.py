"""Blood on the left of a phantom stays on the left for every orientation of the images."""

from pathlib import Path

import numpy as np
import pytest

from dicom_factory import write_slice
from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ct.turning import FLIPPED_COLS, FLIPPED_ROWS, TRANSPOSED, turn_back
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.new_source import prepare_new_studies
from rsna19_kedro.dicom.result_sources import HeatPlace, result_sources
from rsna19_kedro.dicom.results import StudyFindings, evidence_segmentation
from rsna19_kedro.phantoms import Acquisition, acquire, add_haemorrhages, make_head

SPACING_MM, SIDE = 2.0, 120
PAINTED_HU = 3000
"""Value of blood, brighter than everything else, so that it can be located in every image."""


@pytest.fixture(scope="module")
def scan():
    """Create a tilted scan with fewer columns than rows, and blood on the patient's left."""
    how = Acquisition(
        tuple(range(-30, 60, 10)), tilt_deg=15, pixel_spacing_mm=SPACING_MM, size_px=128
    )
    for seed in range(20):
        head = add_haemorrhages(np.random.default_rng(seed), make_head(seed), ["intraparenchymal"])
        phantom = acquire(head, how, seed=seed)
        hu, blood = np.rint(phantom.hu[:, :, :120]).astype(int), phantom.mask[:, :, :120] > 0
        positions = how.positions()
        if blood.sum() > 100:
            hu[blood] = PAINTED_HU
            centre = _centre_mm(blood, positions, np.array(how.orientation))
            if centre[0] > 10:
                return hu, positions, np.array(how.orientation), centre
    raise AssertionError("no phantom has blood on its left")


def _centre_mm(weights: np.ndarray, positions: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    """Return the centre of weights (S, rows, columns) in the patient frame."""
    _, rows, cols = weights.shape
    by_slice = weights.reshape(len(weights), -1).sum(axis=1)
    row = (weights.sum(axis=(0, 2)) @ np.arange(rows)) / weights.sum()
    col = (weights.sum(axis=(0, 1)) @ np.arange(cols)) / weights.sum()
    first = by_slice @ positions / by_slice.sum()
    return first + SPACING_MM * (col * orientation[:3] + row * orientation[3:])


def _write(folder: Path, scan, turn: int) -> None:
    """Store the scan so that ``turn`` restores its orientation."""
    hu, positions, orientation, _ = scan
    across, down = orientation[:3], orientation[3:]
    far_cols, far_rows = (SPACING_MM * (size - 1) for size in (hu.shape[2], hu.shape[1]))
    first = positions
    if turn & FLIPPED_COLS:
        first, across = first + far_cols * across, -across
    if turn & FLIPPED_ROWS:
        first, down = first + far_rows * down, -down
    if turn & TRANSPOSED:
        across, down = down, across
    for number, image in enumerate(turn_back(hu, turn)):
        write_slice(
            folder / f"{number}.dcm",
            uid=f"1.2.3.{turn + 1}.{number + 1}",
            study="1.2.3",
            series="1.2.4",
            position=first[number],
            orientation=np.concatenate([across, down]),
            spacing=(SPACING_MM, SPACING_MM),
            pixels=image + 1024,
            change={"FrameOfReferenceUID": "1.2.5", "StudyDate": "20200101"},
        )


@pytest.mark.parametrize("turn", range(8))
def test_blood_on_the_left_stays_on_the_left(tmp_path: Path, scan, turn: int) -> None:
    _write(tmp_path / "plain", scan, 0)
    _write(tmp_path / "turned", scan, turn)
    volumes = {}
    for name in ("plain", "turned"):
        store = VolumeStore(tmp_path / f"{name}_out")
        new = prepare_new_studies(tmp_path / name, store, crop_size_px=SIDE)
        volumes[name] = store.read("study_1")
    np.testing.assert_array_equal(volumes["turned"], volumes["plain"])
    (study,) = new.findings["studies"]
    assert any("head-first" in text for text in study["remarks"]) == (turn > 0)

    record = store.meta("study_1")["record"]
    place = HeatPlace.from_record(record, SIDE)
    heat = np.zeros((len(volumes["plain"]), len(CLASSES), SIDE, SIDE), np.float16)
    heat[:, -1] = volumes["turned"] > (PAINTED_HU + 1000) / 2
    files = new.files.sort_values("slice_num")
    sources = result_sources(tmp_path / "turned", files, include_phi=False).headers
    on_images = np.stack(
        [
            place.on_image(heat[number], number, source.Rows, source.Columns)[-1]
            for number, source in enumerate(sources)
        ]
    )
    positions = np.array([source.ImagePositionPatient for source in sources], dtype=float)
    orientation = np.array(sources[0].ImageOrientationPatient, dtype=float)
    expected_mm = scan[3]
    assert np.abs(_centre_mm(on_images, positions, orientation) - expected_mm).max() < SPACING_MM

    ones = np.ones((len(sources), len(CLASSES)))
    made = evidence_segmentation(
        StudyFindings(sources, ones, ones[0], heat, place, "m", "fp32", "1")
    )
    assert made is not None
    frames = made.PerFrameFunctionalGroupsSequence
    at = np.array(
        [frame.PlanePositionSequence[0].ImagePositionPatient for frame in frames], dtype=float
    )
    shared = made.SharedFunctionalGroupsSequence[0]
    turned_to = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, dtype=float)
    pixels = made.pixel_array.reshape(len(frames), made.Rows, made.Columns).astype(float)
    assert np.abs(_centre_mm(pixels, at, turned_to) - expected_mm).max() < SPACING_MM
