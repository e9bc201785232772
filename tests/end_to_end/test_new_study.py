"""``kedro run --pipelines new_study`` on folders made to be good, mixed and bad."""

import re
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from pydicom.uid import JPEGLSLossless, RLELossless

from dicom_factory import AXIAL, write_slice, write_study
from rsna19_kedro.contracts import CLASSES

from .conftest import run_command, run_here

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

PLANTED = ("ZZPLANTEDNAME", "ZZPLANTEDNUMBER", "ZZPLANTEDTEXT")


def _run(project: Path, source: Path, *more: str, run=run_here):
    params = ",".join([f"source={source}", *more])
    return run(project, "--pipelines", "new_study", "--params", params)


def _study(folder: Path, name: str) -> list[str]:
    return write_study(
        folder / PLANTED[2],
        name,
        patient=PLANTED[1],
        z_mm=[5.0 * number for number in range(9)],
        shape=(96, 96),
        change={"PatientName": PLANTED[0], "SeriesDescription": PLANTED[2]},
    )


def _outputs(project: Path) -> list[Path]:
    data = project / "data"
    return [
        path
        for layer in ("02_intermediate", "07_model_output", "08_reporting")
        for path in (data / layer / "new_study").rglob("*")
        if path.is_file()
    ]


def test_folder_gives_tables_and_a_report_without_the_patient(project_copy, tmp_path) -> None:
    uids = [*_study(tmp_path / "in", "ID_one"), *_study(tmp_path / "in", "ID_two")]
    # A process of its own: nothing that it says or writes escapes.
    result = _run(project_copy, tmp_path / "in", "dicom_output=true", run=run_command)
    assert result.returncode == 0, result.stdout + result.stderr
    folder = project_copy / "data" / "07_model_output" / "new_study"
    table = pd.read_csv(folder / "predictions.csv")
    slices = table[table["level"] == "slice"]
    assert slices["sop_instance_uid"].tolist() == uids
    studies = table[table["level"] == "study"].set_index("study_id")
    for name, own in slices.groupby("study_id"):
        for label in CLASSES:
            highest = own.loc[own[f"pred_{label}"].idxmax()]
            assert studies.loc[name, f"pred_{label}"] == highest[f"pred_{label}"]
            assert studies.loc[name, f"spread_{label}"] == highest[f"spread_{label}"]
    assert studies["study_number"].to_dict() == {"ID_one": 1, "ID_two": 2}
    assert len(pd.read_parquet(folder / "predictions.parquet")) == len(table)
    page = (project_copy / "data/08_reporting/new_study/report.html").read_text()
    assert "Not for diagnosis" in page
    assert "second level" in page
    assert not re.search(r"(src|href)=\"https?:", page)
    reports = sorted((folder / "dicom").glob("*/report.dcm"))
    assert [path.parent.name for path in reports] == ["study_1", "study_2"]
    for path in _outputs(project_copy):
        content = path.read_bytes()
        for planted in PLANTED:
            assert planted.encode() not in content, path
    log = result.stdout + result.stderr
    assert not any(planted in log for planted in PLANTED[:2])
    # The third is also the name of a folder on the way to the files; here, of a series.
    assert f"{PLANTED[2]}," not in log


def test_patient_is_named_if_asked_for(project_copy, tmp_path) -> None:
    _study(tmp_path / "in", "ID_one")
    result = _run(project_copy, tmp_path / "in", "include_phi=true", "fast=true")
    assert result.returncode == 0, result.stdout + result.stderr
    page = (project_copy / "data/08_reporting/new_study/report.html").read_text()
    assert all(planted in page for planted in PLANTED)


def test_good_study_is_predicted_and_the_bad_one_ends_the_run_with_an_error(
    project_copy, tmp_path
) -> None:
    _study(tmp_path / "in", "ID_good")
    write_study(tmp_path / "in", "ID_bad", shape=(96, 96), change={"BodyPartExamined": "ABDOMEN"})
    archive = tmp_path / "in.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in (tmp_path / "in").rglob("*.dcm"):
            packed.write(path, path.relative_to(tmp_path / "in"))
    result = _run(project_copy, archive, "models:resnet18_400", "fold:0")
    output = " ".join((result.stdout + result.stderr).split())
    assert result.returncode != 0
    assert (
        "1 of 2 studies could not be predicted (Study 2 (ID_bad): no series fits: not a head"
        in output
    )
    assert "Traceback" not in output
    assert "Results of what could be predicted: predictions: data/07_model" in output
    table = pd.read_csv(project_copy / "data/07_model_output/new_study/predictions.csv")
    assert set(table["study_id"]) == {"ID_good"}
    assert (table["spread_any"] == 0).all()


def test_mixed_folder_is_sorted_out(project_copy, tmp_path) -> None:
    """Two series of a study, compressed, beside contrast, several orientations and a gap."""
    source, shape = tmp_path / "in", (96, 96)
    z_mm = [5.0 * number for number in range(9)]
    two = {"study": "ID_two", "shape": shape, "z_mm": z_mm}
    soft = write_study(
        source / "soft", **two, series="ID_soft", syntax=JPEGLSLossless, change={"SeriesNumber": 1}
    )
    bone = [f"ID_bone_{number}" for number in range(9)]
    write_study(
        source / "bone",
        **two,
        names=bone,
        series="ID_bone",
        syntax=RLELossless,
        change={"ConvolutionKernel": "BONE"},
    )
    agent = {"ContrastBolusAgent": "Iohexol"}
    write_study(source, "ID_contrast", z_mm=z_mm, shape=shape, change=agent)
    write_study(source, "ID_mr", shape=shape, change={"Modality": "MR"})
    for number, orientation in enumerate([AXIAL, AXIAL, (0.0, 1.0, 0.0, 0.0, 0.0, 1.0)]):
        write_slice(source / f"ID_turned_{number}.dcm", study="ID_turned", orientation=orientation)
    gap = [z for z in z_mm if not 12 < z < 28]
    write_study(source, "ID_gap", z_mm=gap, shape=shape)
    write_study(source / "again", "ID_gap", z_mm=gap[:2], shape=shape)
    result = _run(project_copy, source, "fast=true")
    output = " ".join((result.stdout + result.stderr).split())
    assert result.returncode != 0
    assert "3 of 5 studies could not be predicted" in output
    for said in (
        "(ID_contrast): no series fits: with contrast agent",
        "(ID_turned): no series fits: its slices have several orientations",
        "(ID_mr): no usable slice: not CT",
        "another series of the study fits better (this one has a sharp kernel)",
        "times the median: gaps?",
        "Study 1: 2 more files of this series were left out (duplicates or damaged)",
    ):
        assert said in output, said
    assert "Traceback" not in output
    table = pd.read_csv(project_copy / "data/07_model_output/new_study/predictions.csv")
    slices = table[table["level"] == "slice"]
    assert slices.groupby("study_id")["sop_instance_uid"].size().to_dict() == {
        "ID_gap": len(gap),
        "ID_two": 9,
    }
    assert set(soft) <= set(slices["sop_instance_uid"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "holds no file"),
        (lambda folder: (folder / "a.txt").write_text("x"), "Nothing in the source"),
    ],
)
def test_nothing_to_predict_is_a_message(project_copy, tmp_path, make, message: str) -> None:
    (tmp_path / "in").mkdir()
    make(tmp_path / "in")
    result = _run(project_copy, tmp_path / "in")
    output = " ".join((result.stdout + result.stderr).split())
    assert result.returncode != 0
    assert message in output
    assert "Traceback" not in output


def test_undecodable_study_is_refused_without_the_name_of_its_folder(
    project_copy, tmp_path
) -> None:
    _study(tmp_path / "in", "ID_good")
    planted = tmp_path / "in" / "ZZPLANTEDFOLDER"
    write_study(planted, "ID_bad", shape=(96, 96), z_mm=[0.0, 5.0, 10.0])
    for path in planted.rglob("*.dcm"):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) - 96 * 96])
    result = _run(project_copy, tmp_path / "in", "fast=true")
    assert result.returncode != 0
    assert "ID_bad" in result.stdout + result.stderr
    assert "ZZPLANTEDFOLDER" not in result.stdout + result.stderr
    for path in _outputs(project_copy):
        assert b"ZZPLANTEDFOLDER" not in path.read_bytes(), path


def test_nothing_of_an_earlier_run_is_left_by_one_that_fails(project_copy, tmp_path) -> None:
    _study(tmp_path / "in", "ID_one")
    result = _run(project_copy, tmp_path / "in", "fast=true", "dicom_output=true")
    assert result.returncode == 0, result.stdout + result.stderr
    results = [*(project_copy / "data").rglob("new_study/**/*.*")]
    assert {path.name for path in results} >= {"predictions.csv", "report.html", "report.dcm"}
    assert _run(project_copy, tmp_path / "nowhere").returncode != 0
    left = {path.name for path in _outputs(project_copy)}
    assert not left & {"predictions.csv", "predictions.parquet", "report.html", "report.dcm"}


def test_without_a_trained_model_it_says_how_to_get_one(empty_project, tmp_path) -> None:
    _study(tmp_path / "in", "ID_one")
    result = _run(empty_project, tmp_path / "in")
    output = " ".join((result.stdout + result.stderr).split())
    assert result.returncode != 0
    assert "kedro run --env demo" in output
    result = run_here(empty_project, "--pipelines", "new_study")
    assert "--params source=PATH" in " ".join((result.stdout + result.stderr).split())
