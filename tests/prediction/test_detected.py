"""New studies predicted by the public detector: its evidence lies right, and all results name it.

A stand-in of its network finds painted blood, so that the results can be compared with the truth.
"""

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from dicom_factory import write_slice
from random_release import random_network, write_config, write_small_release
from rsna19_kedro import predict_study
from rsna19_kedro.contracts import CLASSES, PREDICTIONS
from rsna19_kedro.ct.turning import FLIPPED_COLS, FLIPPED_ROWS, TRANSPOSED, turn_back
from rsna19_kedro.detector.detector import Detector
from rsna19_kedro.detector.networks import SequenceNetwork
from rsna19_kedro.detector.release import REPOSITORY
from rsna19_kedro.detector.slice_input import SIDE_PX, fit_of
from rsna19_kedro.errors import ModelError
from rsna19_kedro.networks.training_data import Band
from rsna19_kedro.pipelines.new_study.nodes import (
    predict_new,
    prepare_source,
    report_new,
    write_dicom,
)
from rsna19_kedro.pipelines.new_study.parameters import NewStudyParameters
from rsna19_kedro.prediction.detected import average
from rsna19_kedro.prediction.heat import HEAT_PX, heat_of_native, read_heat
from rsna19_kedro.prediction.new_study import SPREAD, StudyResult
from rsna19_kedro.prediction.settings import PredictionSettings

SPACING_MM, PAINTED_HU = 0.5, 2500


class _Painted(nn.Module):
    """Finds pixels that are brighter than bone."""

    def forward(self, stacks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        painted = (stacks[:, 5] > 0.97).float()
        maps = nn.functional.avg_pool2d(painted[:, None], SIDE_PX // 16).repeat(1, 6, 1, 1)
        logits = 4.0 + maps.mean(dim=(2, 3))
        return torch.zeros(len(stacks), 512), logits, maps


@pytest.fixture
def release(tmp_path: Path, monkeypatch) -> Path:
    """Files of a release; loading them gives the stand-in."""
    folder = tmp_path / "release"
    write_small_release(folder)
    write_config(folder, weights="published")
    sequence = random_network(SequenceNetwork())
    nn.init.constant_(sequence.slice_head.bias, 4.0)
    monkeypatch.setattr(
        Detector, "load", lambda release, device, half=None: Detector(release, _Painted(), sequence)
    )
    return folder


def _head(rows: int, cols: int) -> tuple[np.ndarray, np.ndarray]:
    """A rough head of 4 slices, off the centre, with painted blood; and the centre of the blood.

    The blood is centred on a corner of four cells of the detector's maps, which can be located
    more exactly than a spot within one cell.
    """
    y, x = np.mgrid[:rows, :cols].astype(float)
    middle, size = (rows * 0.54, cols * 0.47), min(rows, cols)
    radius = np.hypot((y - middle[0]) / (0.42 * size), (x - middle[1]) / (0.34 * size))
    hu = np.select([radius < 0.9, radius < 1], [32, 900], -1000)
    fit = fit_of(rows, cols)
    corner = (np.array([6, 9]) * SIDE_PX / 16 - fit.offset) / fit.scale
    top, left = np.rint(corner).astype(int) - 8
    rng = np.random.default_rng(0)
    volume = np.clip(hu + rng.normal(0, 5, (4, rows, cols)), -1024, 3000)
    volume[:, top : top + 16, left : left + 16] = PAINTED_HU
    return volume.astype(np.int16), np.array([top, left]) + 7.5


def _centre(weights: np.ndarray) -> np.ndarray:
    rows, cols = np.indices(weights.shape)
    return np.array([(weights * rows).sum(), (weights * cols).sum()]) / weights.sum()


@pytest.mark.parametrize("size", [(512, 512), (450, 420), (600, 520), (720, 720)])
def test_evidence_covers_the_blood_of_the_prepared_slices(release: Path, size) -> None:
    hu, _ = _head(*size)
    result = predict_study(hu, detector=release)
    assert result.hu is not None
    assert result.heat is not None
    painted = _centre((result.hu[1] > 2000).astype(float))
    heat = result.heat[1, 5].astype(float)
    cell = result.hu.shape[-1] / HEAT_PX
    assert np.abs((_centre(heat) + 0.5) * cell - 0.5 - painted).max() < 2
    assert result.method.startswith(REPOSITORY)
    assert "Ian Pan" in result.band.text
    assert result.band.warning == ""


def test_evidence_beyond_the_input_is_zero() -> None:
    maps = np.ones((1, 6, 16, 16), np.float32)
    heat = heat_of_native(maps, fit_of(700, 600), np.array([[100.0, 0.0]]), 400)
    assert heat.shape == (1, 6, HEAT_PX, HEAT_PX)
    assert heat[0, 0, :24].max() == 0  # The prepared slice begins 100 pixels before the image.
    assert heat[0, 0, 40:, 20:].min() > 0.9


@pytest.mark.parametrize("turn", [0, FLIPPED_COLS, FLIPPED_ROWS | TRANSPOSED])
def test_all_results_name_the_detector_and_show_the_blood_in_the_images(
    tmp_path: Path, release: Path, turn: int
) -> None:
    hu, spot = _head(450, 512)
    across, down = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
    rows, cols = hu.shape[1:]
    first = np.array([-128.0, -112.0, 0])
    spot_mm = first + SPACING_MM * (spot[1] * across + spot[0] * down)
    if turn & FLIPPED_COLS:
        first, across = first + SPACING_MM * (cols - 1) * across, -across
    if turn & FLIPPED_ROWS:
        first, down = first + SPACING_MM * (rows - 1) * down, -down
    if turn & TRANSPOSED:
        across, down = down, across
    for number, image in enumerate(turn_back(hu, turn)):
        write_slice(
            tmp_path / "source" / f"{number}.dcm",
            uid=f"1.2.3.{number + 1}",
            study="1.2.3",
            series="1.2.4",
            position=first + np.array([0, 0, 5.0 * number]),
            orientation=np.concatenate([across, down]),
            spacing=(SPACING_MM, SPACING_MM),
            pixels=image.astype(int) + 1024,
            change={"FrameOfReferenceUID": "1.2.5", "StudyDate": "20200101"},
        )
    params = NewStudyParameters(
        source=str(tmp_path / "source"), detector=str(release), dicom_output=True
    )
    volumes, native, slices, series, sources, findings = prepare_source(
        tmp_path / "volumes", tmp_path / "volumes" / "native", params
    )
    np.testing.assert_array_equal(native.read("study_1"), hu)
    heat = tmp_path / "heat"
    table, _, as_json, summary = predict_new(
        *(volumes, native, slices, findings, tmp_path, heat, tmp_path),
        params=params,
        prediction=PredictionSettings(),
    )
    page = report_new(volumes, table, series, findings, summary, heat, tmp_path / "pages", params)
    made = write_dicom(
        volumes, table, sources.astype(str), summary, heat, tmp_path / "dicom", params
    )
    assert made["failed"] == {}

    assert table["method"].str.startswith(REPOSITORY).all()
    assert table["note"].str.contains("Ian Pan, MIT licence, trained on 661,118 slices").all()
    assert as_json["summary"]["detector"]["name"] == REPOSITORY
    assert "slice AUC of any by its authors: 0.983" in json.dumps(as_json).replace("Slice", "slice")
    assert "661,118 slices" in page
    assert "the probability of a study is the detector&#39;s own prediction of the series" in page
    report, evidence = (
        pydicom.dcmread(tmp_path / "dicom" / "study_1" / name)
        for name in ("report.dcm", "evidence.dcm")
    )
    for dataset in (report, evidence):
        assert dataset.SeriesDescription == f"Algorithm: {REPOSITORY}, research only"
    texts = {str(element.value) for element in report.iterall() if element.VR in ("UT", "LO")}
    assert any("trained on 661,118 slices" in text for text in texts)
    assert REPOSITORY in texts

    maps = read_heat(heat, "study_1")
    assert maps is not None
    painted = _centre((volumes.read("study_1")[1] > 2000).astype(float))
    assert np.abs((_centre(maps[1, 5].astype(float)) + 0.5) * 4 - 0.5 - painted).max() < 2
    planes = evidence.pixel_array.astype(float)
    _, frame = max((plane.sum(), number) for number, plane in enumerate(planes))
    found = _centre(planes[frame])
    at = evidence.PerFrameFunctionalGroupsSequence[frame].PlanePositionSequence[0]
    shared = evidence.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    axes = np.array(shared.ImageOrientationPatient, dtype=float)
    found_mm = np.array(at.ImagePositionPatient, dtype=float)
    found_mm = found_mm + SPACING_MM * (found[1] * axes[:3] + found[0] * axes[3:])
    assert np.abs(found_mm[:2] - spot_mm[:2]).max() < 2 * SPACING_MM


def test_random_weights_are_named_in_the_results(release: Path) -> None:
    write_config(release, weights="random")
    result = predict_study(_head(512, 512)[0], detector=release)
    assert result.band.warning.startswith("Random weights, no meaning")
    assert result.method.endswith("weights random")


def _result(value: float, trained_on: str, heat: float | None) -> StudyResult:
    import pandas as pd

    columns = {"slice_num": [0, 1]} | dict.fromkeys(PREDICTIONS, value)
    maps = None if heat is None else np.full((2, 6, 4, 4), heat, np.float16)
    study = dict.fromkeys(CLASSES, value)
    return StudyResult(
        *("s", pd.DataFrame(columns), study, maps, f"m{value}", (f"m{value}",)),
        Band(trained_on, f"text of {value}"),  # type: ignore[arg-type]
        "fp32",
    )


@pytest.mark.parametrize(
    ("own", "expected"),
    [("real", "real"), ("synthetic", "partly synthetic"), ("not recorded", "not recorded")],
)
def test_average_of_two_results(own: str, expected: str) -> None:
    both = average(_result(0.2, own, 1.0), _result(0.6, "real", 0.5))
    assert np.allclose(both.slices[list(PREDICTIONS)], 0.4)
    assert np.allclose(both.slices[list(SPREAD)], 0.2)
    assert both.study["any"] == pytest.approx(0.4)
    assert both.heat is not None
    assert float(both.heat.max()) == 0.75
    assert both.members == ("m0.2", "m0.6")
    assert (both.band.trained_on, both.band.text) == (expected, "text of 0.2. text of 0.6")
    without = average(_result(0.2, own, None), _result(0.6, "random weights", 0.5))
    assert without.band.trained_on == "random weights"
    assert without.heat is not None
    assert float(without.heat.max()) == 0.5


def test_mean_needs_trained_models(release: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No requested model is trained"):
        predict_study(_head(512, 512)[0], tmp_path / "none", detector=release, combine="mean")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"combine": "mean"}, "combine is only used with detector=FOLDER"),
        ({"detector_revision": "1a2b3c4"}, "detector_revision is only used with detector=FOLDER"),
        ({"detector": "x", "models": ["resnet18_400"]}, "only used with a detector if combine"),
        ({"detector": "x", "combine": "max"}, "Input should be 'mean'"),
    ],
)
def test_parameters_without_effect_are_refused(values: dict, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        NewStudyParameters(**values)
