"""Structured report and segmentation, read back by other libraries."""

import copy
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import highdicom as hd
import numpy as np
import pandas as pd
import pydicom
import pytest

from dicom_factory import write_slice, write_study
from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.dicom.headers import read_headers
from rsna19_kedro.dicom.result_sources import HeatPlace, check_refers, file_digest, result_sources
from rsna19_kedro.dicom.results import (
    FINDINGS,
    StudyFindings,
    structured_report,
    write_dicom_results,
)
from rsna19_kedro.dicom.slice_index import headers_table, number_slices
from rsna19_kedro.dicom.studies import prepare_study
from rsna19_kedro.errors import InputError, SourceError

SIDE = 40
PLANTED = ("ZZNAME", "ZZNUMBER", "19700203", "ZZACCESSION")


def _files(paths: list[str], digests: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"path": paths, "sha256": digests, "frame": None})


def _sources(folder: Path, paths: list[str], *, include_phi: bool) -> list[pydicom.Dataset]:
    files = _files(paths, [file_digest(folder / path) for path in paths])
    return result_sources(folder, files, include_phi=include_phi).headers


def _slices(folder: Path) -> pd.DataFrame:
    files = sorted(path.name for path in folder.iterdir())
    rows = read_headers(folder, tuple(files))
    return number_slices(headers_table([{**row, "subset": "test2"} for row in rows]), folder)


def _findings(folder: Path, *, include_phi: bool = False, warning: str = "") -> StudyFindings:
    slices = _slices(folder)
    volume, record = prepare_study(slices, folder, SIDE)
    heat = np.zeros((len(volume), 6, SIDE // 4, SIDE // 4), np.float16)
    heat[1, 4, 3:6, 3:6] = 1.0
    values = np.zeros((len(volume), 6))
    values[1, 4] = values[1, 5] = 0.8
    return StudyFindings(
        _sources(folder, slices["path"].tolist(), include_phi=include_phi),
        values,
        values.max(axis=0),
        heat,
        HeatPlace.from_record(asdict(record), SIDE),
        "mean of 2 models",
        "fp32",
        "1.2.3",
        warning,
    )


@pytest.fixture
def study(tmp_path: Path) -> Path:
    write_study(
        tmp_path / "in",
        "1.2.826.0.1.3680043.9.7.1",
        names=[f"1.2.826.0.1.3680043.9.7.1.{k}" for k in range(4)],
        patient=PLANTED[1],
        z_mm=(0, 5, 10, 15),
        tilt_deg=20,
        shape=(48, 44),
        change={
            "PatientName": PLANTED[0],
            "PatientBirthDate": PLANTED[2],
            "AccessionNumber": PLANTED[3],
        },
    )
    return tmp_path / "in"


def test_heatmap_is_mapped_back_to_the_pixels_of_the_image(tmp_path: Path) -> None:
    """A bright square of an image is at the same position after mapping the volume back."""
    pixels = np.full((60, 64), 0)
    pixels[20:28, 36:44] = 60
    pixels[:4] = -1000
    for number, shift in enumerate((0.0, 1.15, 7.3)):  # mm along the columns: 2.3, 14.6 px
        write_slice(
            tmp_path / f"1.2.{number}.dcm",
            uid=f"1.2.{number}",
            position=(-4.0, -4.0 + shift, 5.0 * number),
            pixels=pixels + 1024,
        )
    slices = _slices(tmp_path)
    volume, record = prepare_study(slices, tmp_path, SIDE)
    place = HeatPlace.from_record(asdict(record), SIDE)
    for number in range(3):
        prepared = volume[number].astype(np.float32)[None]
        back = place.on_image(prepared, number, 60, 64)[0]
        rows, cols = np.nonzero(back > 30)
        assert rows.mean() == pytest.approx(23.5, abs=0.35)
        assert cols.mean() == pytest.approx(39.5, abs=0.35)
        coarse = prepared.reshape(1, SIDE // 4, 4, SIDE // 4, 4).mean(axis=(2, 4))
        weight = place.on_image(np.clip(coarse, 0, 60), number, 60, 64)[0]
        assert (weight.sum(axis=1) @ np.arange(60)) / weight.sum() == pytest.approx(23.5, abs=0.6)
        assert (weight.sum(axis=0) @ np.arange(64)) / weight.sum() == pytest.approx(39.5, abs=0.6)


def test_report_reads_back_with_study_and_slice_findings(study: Path, tmp_path: Path) -> None:
    write_dicom_results(_findings(study), tmp_path / "out")
    report = hd.sr.srread(tmp_path / "out" / "report.dcm")
    groups = report.content.get_image_measurement_groups()
    measured = {}
    for group in groups:
        (measurement,) = group.get_measurements()
        (image,) = group.source_images
        measured[group.tracking_identifier] = (
            group.finding_type.value,
            measurement.value,
            measurement.unit.value,
            image.referenced_sop_instance_uid,
        )
    second = "1.2.826.0.1.3680043.9.7.1.1"
    assert measured["study, subdural"] == (FINDINGS["subdural"].value, 80.0, "%", second)
    assert measured["slice 1, any"] == ("1386000", 80.0, "%", second)
    assert measured["study, epidural"][1] == 0.0
    assert set(measured) == {
        *(f"study, {name}" for name in CLASSES),
        *("slice 1, subdural", "slice 1, any"),
    }


def test_report_and_segmentation_name_the_precision(study: Path, tmp_path: Path) -> None:
    write_dicom_results(_findings(study), tmp_path / "out")
    report, evidence = (
        pydicom.dcmread(tmp_path / "out" / f"{name}.dcm") for name in ("report", "evidence")
    )
    texts = {item.TextValue for item in _items(report) if "TextValue" in item}
    assert {"mean of 2 models", "precision fp32"} <= texts
    for segment in evidence.SegmentSequence:
        (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
        assert algorithm.AlgorithmParameters == "precision=fp32"


def _items(dataset: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    """All content items of a report."""
    for item in dataset.get("ContentSequence", ()):
        yield item
        yield from _items(item)


def test_segmentation_reads_back_on_its_image(study: Path, tmp_path: Path) -> None:
    findings = _findings(study)
    write_dicom_results(findings, tmp_path / "out")
    read = hd.seg.segread(tmp_path / "out" / "evidence.dcm")
    assert [read.get_segment_description(1).segment_label] == ["Evidence for subdural"]
    uids = [source.SOPInstanceUID for source in findings.sources]
    pixels = read.get_pixels_by_source_instance(uids, assert_missing_frames_are_empty=True)[..., 0]
    assert [plane.any() for plane in pixels] == [False, True, False, False]
    assert pixels[1].max() == pytest.approx(0.8, abs=1 / 255)
    expected = findings.place.on_image(findings.heat[1, 4:5], 1, 48, 44)[0] * 0.8
    np.testing.assert_allclose(pixels[1], expected, atol=1 / 255)
    plain = pydicom.dcmread(tmp_path / "out" / "evidence.dcm")
    assert plain.pixel_array.shape[-2:] == (48, 44)


@pytest.mark.parametrize(
    ("warning", "series"),
    [
        ("Trained on synthetic heads only: a demonstration",) * 2,
        (
            "Trained on synthetic heads only: a demonstration (1 of 3 models was trained on them)",
            "Trained on synthetic heads only: a demonstration (1 of 3...",
        ),
        ("The training data of these models is not recorded",) * 2,
        ("", None),
    ],
)
def test_warning_about_the_models_is_in_report_and_segmentation(
    study: Path, tmp_path: Path, warning: str, series: str | None
) -> None:
    for path in write_dicom_results(_findings(study, warning=warning), tmp_path / "out"):
        description = pydicom.dcmread(path).SeriesDescription
        assert len(description) <= 64
        assert description == series or (series is None and "research only" in description)
    content = hd.sr.srread(tmp_path / "out" / "report.dcm").content
    comments = [
        item.TextValue for item in content[0].ContentSequence if item.name.meaning == "Comment"
    ]
    assert comments == ([warning] if warning else [])
    assert len(content.get_image_measurement_groups()) == 8


def test_patient_data_are_included_only_on_request(study: Path, tmp_path: Path) -> None:
    for path in write_dicom_results(_findings(study), tmp_path / "out"):
        content = path.read_bytes()
        assert not [text for text in PLANTED if text.encode() in content], path
    for path in write_dicom_results(_findings(study, include_phi=True), tmp_path / "named"):
        assert pydicom.dcmread(path).PatientName == PLANTED[0]


def test_kaggle_ids_become_reproducible_uids(tmp_path: Path) -> None:
    uids = write_study(tmp_path / "in", "ID_study", shape=(48, 44))
    paths = [f"{uid}.dcm" for uid in uids]
    first = _sources(tmp_path / "in", paths, include_phi=False)
    second = _sources(tmp_path / "in", paths, include_phi=False)
    assert all(pydicom.uid.UID(source.SOPInstanceUID).is_valid for source in first)
    assert [s.SOPInstanceUID for s in first] == [s.SOPInstanceUID for s in second]
    assert len({s.SOPInstanceUID for s in first}) == 3
    assert len({s.StudyInstanceUID for s in first}) == 1


def test_a_study_that_a_segmentation_cannot_refer_to_is_refused(tmp_path: Path) -> None:
    write_slice(tmp_path / "a.dcm", shape=(16, 16))
    write_slice(tmp_path / "b.dcm", shape=(20, 20))
    write_slice(tmp_path / "c.dcm", drop=["ImagePositionPatient"])
    with pytest.raises(InputError, match="2 different sizes"):
        _sources(tmp_path, ["a.dcm", "b.dcm"], include_phi=False)
    with pytest.raises(InputError, match="lack ImagePositionPatient"):
        _sources(tmp_path, ["a.dcm", "c.dcm"], include_phi=False)


def test_without_heatmaps_only_a_report_is_written(study: Path, tmp_path: Path) -> None:
    findings = _findings(study)
    findings.slices[:] = 0.001
    assert [p.name for p in write_dicom_results(findings, tmp_path / "out")] == ["report.dcm"]
    findings.slices[:] = 0.5
    assert len(write_dicom_results(findings, tmp_path / "out")) == 2
    findings.sources[1].ImagePositionPatient = findings.sources[0].ImagePositionPatient
    assert [p.name for p in write_dicom_results(findings, tmp_path / "out")] == ["report.dcm"]


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
@pytest.mark.parametrize("include_phi", [False, True])
def test_dciodvfy_finds_no_error(study: Path, tmp_path: Path, include_phi: bool) -> None:
    findings = _findings(study, include_phi=include_phi, warning="Trained on something else")
    for path in write_dicom_results(findings, tmp_path / "out"):
        result = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        lines = (result.stdout + result.stderr).splitlines()
        assert lines
        assert not [line for line in lines if line.startswith("Error")]


def test_results_of_another_patient_study_or_image_are_not_written(study: Path, tmp_path) -> None:
    findings = _findings(study, include_phi=True)
    made = structured_report(findings)
    check_refers(made, findings.sources)
    for name, value in (("PatientID", "Q"), ("StudyInstanceUID", "1.2.3")):
        wrong = copy.deepcopy(made)
        setattr(wrong, name, value)
        with pytest.raises(SourceError, match=f"their {name} differs from that of the images"):
            check_refers(wrong, findings.sources)
    with pytest.raises(SourceError, match="images that were not predicted"):
        check_refers(made, findings.sources[2:])


def test_files_that_changed_or_mix_patients_have_no_results(study: Path) -> None:
    paths = sorted(path.name for path in study.iterdir())
    digests = [file_digest(study / path) for path in paths]
    with pytest.raises(SourceError, match="a file has changed"):
        result_sources(study, _files(paths, digests[::-1]), include_phi=False)
    header = pydicom.dcmread(study / paths[0])
    for name, what in (("PatientID", "2 patients"), ("StudyInstanceUID", "2 studies")):
        changed = copy.deepcopy(header)
        setattr(changed, name, "1.9")
        changed.save_as(study / "other.dcm")
        with pytest.raises(SourceError, match=f"belong to {what}"):
            _sources(study, [*paths[1:], "other.dcm"], include_phi=False)
    header.save_as(study / "other.dcm")
    with pytest.raises(SourceError, match="5 images have 4 SOPInstanceUIDs"):
        _sources(study, [*paths, "other.dcm"], include_phi=False)


@pytest.mark.parametrize(
    ("change", "written", "left_out"),
    [
        ({"PatientBirthDate": "00/00/0000"}, ("PatientBirthDate", ""), ["PatientBirthDate"]),
        ({"StudyDate": "2019.06.01"}, ("StudyDate", "20190601"), []),
        ({"PatientSex": "male"}, ("PatientSex", ""), ["PatientSex"]),
        ({"StudyTime": "noon"}, ("StudyTime", ""), ["StudyTime"]),
        ({"SliceThickness": "6.00000000000000000001"}, ("PatientID", "p"), []),
    ],
)
def test_an_invalid_value_affects_nothing_else(tmp_path: Path, change, written, left_out) -> None:
    names = ["1.2.3.1", "1.2.3.2"]
    uids = write_study(tmp_path, "1.2.3", patient="p", names=names, z_mm=(0, 5), change=change)
    paths = [f"{uid}.dcm" for uid in uids]
    digests = [file_digest(tmp_path / path) for path in paths]
    sources = result_sources(tmp_path, _files(paths, digests), include_phi=True)
    assert sources.left_out == left_out
    values = np.zeros((2, 6))
    place = HeatPlace(np.zeros((2, 2)), SIDE, (0, 0))
    findings = StudyFindings(
        sources.headers, values, values[0], None, place, "one model", "fp32", "1"
    )
    (path,) = write_dicom_results(findings, tmp_path / "out")
    assert str(pydicom.dcmread(path).get(written[0], "")) == written[1]
