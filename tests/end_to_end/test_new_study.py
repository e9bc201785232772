"""``kedro run --pipelines new_study`` on valid, mixed and invalid folders."""

import json
import re
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from pydicom import dcmread
from pydicom.uid import JPEGLSLossless, RLELossless

from dicom_factory import AXIAL, write_slice, write_study
from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.networks.training_data import SYNTHETIC_ONLY

from .conftest import run_at_once, run_command, run_here

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

PLANTED = ("ZZPLANTEDNAME", "ZZPLANTEDNUMBER", "ZZPLANTEDFOLDER", "19710203", "ZZPLANTEDACCESSION")


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
        change={
            "PatientName": PLANTED[0],
            "SeriesDescription": f"HEAD {PLANTED[0]}",
            "PatientBirthDate": PLANTED[3],
            "AccessionNumber": PLANTED[4],
            "StudyDate": "20190601",
        },
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
    # A separate process, to capture all of its output.
    result = _run(project_copy, tmp_path / "in", "dicom_output=true", run=run_command)
    assert result.returncode == 0, result.stdout + result.stderr
    folder = project_copy / "data" / "07_model_output" / "new_study" / "latest"
    table = pd.read_csv(folder / "predictions.csv")
    slices = table[table["level"] == "slice"]
    assert slices["sop_instance_uid"].tolist() == uids
    studies = table[table["level"] == "study"].set_index("study_id")
    for name, rows in slices.groupby("study_id"):
        for label in CLASSES:
            highest = rows.loc[rows[f"pred_{label}"].idxmax()]
            assert studies.loc[name, f"pred_{label}"] == highest[f"pred_{label}"]
            assert studies.loc[name, f"spread_{label}"] == highest[f"spread_{label}"]
    assert studies["study_number"].to_dict() == {"ID_one": 1, "ID_two": 2}
    assert len(pd.read_parquet(folder / "predictions.parquet")) == len(table)
    page = (project_copy / "data/08_reporting/new_study/latest/report.html").read_text()
    assert "Not for diagnosis" in page
    assert "second level" in page
    assert set(table["trained_on"]) == {"synthetic"}
    assert SYNTHETIC_ONLY in page.split("Worklist")[0]
    assert not re.search(r"(src|href)=\"https?:", page)
    reports = sorted((folder / "dicom").glob("*/report.dcm"))
    assert [path.parent.name for path in reports] == ["study_1", "study_2"]
    for path in (folder / "dicom").rglob("*.dcm"):
        assert dcmread(path).SeriesDescription == SYNTHETIC_ONLY
    for path in _outputs(project_copy):
        if path.name == "sources.csv":  # The local key to the files may identify patients.
            continue
        content = path.read_bytes()
        for planted in PLANTED:
            assert planted.encode() not in content, path
            assert planted not in path.relative_to(project_copy).as_posix()
    log = result.stdout + result.stderr
    assert SYNTHETIC_ONLY in " ".join(log.split())
    log_file = max((project_copy / "data/08_reporting/logs").glob("*.log")).read_text()
    assert SYNTHETIC_ONLY in log_file
    assert not any(planted in text for planted in PLANTED for text in (log, log_file))
    as_json = json.loads((folder / "predictions.json").read_text())
    assert [study["number"] for study in as_json["studies"]] == [1, 2]
    assert as_json["studies"][0]["study_date"] == "2019-06-01"
    assert as_json["studies"][0]["series_description"] == "HEAD ***"
    assert len(as_json["studies"][0]["slices"]) == 9
    sources = pd.read_csv(folder / "sources.csv")
    assert sources["path"].str.contains(PLANTED[2]).all()
    assert sources.groupby("study_number")["slice_num"].apply(list).tolist() == [[*range(9)]] * 2


def test_patient_is_named_if_include_phi_is_set(project_copy, tmp_path) -> None:
    _study(tmp_path / "in", "ID_one")
    result = _run(project_copy, tmp_path / "in", "include_phi=true", "fast=true")
    assert result.returncode == 0, result.stdout + result.stderr
    page = (project_copy / "data/08_reporting/new_study/latest/report.html").read_text()
    assert all(planted in page for planted in PLANTED[:3])
    table = pd.read_csv(project_copy / "data/07_model_output/new_study/latest/predictions.csv")
    assert set(table["patient_id"]) == {PLANTED[1]}
    assert set(table["patient_name"]) == {PLANTED[0]}


def test_valid_study_is_predicted_although_an_invalid_one_fails_the_run(
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
        "1 of 2 studies could not be predicted or written as DICOM (Study 1 (ID_bad): "
        "no suitable series: not a head" in output
    )
    assert "Traceback" not in output
    assert "Results of the studies that could be predicted: predictions: data/07_model" in output
    table = pd.read_csv(project_copy / "data/07_model_output/new_study/latest/predictions.csv")
    assert set(table["study_id"]) == {"ID_good"}
    assert table["spread_any"].isna().all(), "there is one checkpoint"


def test_mixed_folder_is_sorted(project_copy, tmp_path) -> None:
    """Two compressed series of a study, next to contrast, several orientations and a gap."""
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
    sagittal = (0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    for number, orientation in enumerate([AXIAL, AXIAL, sagittal, sagittal]):  # no majority
        write_slice(source / f"ID_turned_{number}.dcm", study="ID_turned", orientation=orientation)
    gap = [z for z in z_mm if not 12 < z < 28]
    write_study(source, "ID_gap", z_mm=gap, shape=shape)
    write_study(source / "again", "ID_gap", z_mm=gap[:2], shape=shape)
    result = _run(project_copy, source, "fast=true")
    output = " ".join((result.stdout + result.stderr).split())
    assert result.returncode != 0
    assert "3 of 5 studies could not be predicted" in output
    for message in (
        "(ID_contrast): no suitable series: with contrast agent",
        "(ID_turned): no suitable series: its slices have several orientations",
        "(ID_mr): no usable slice: not CT",
        "another series or stack of the study is better (a bone kernel, noisier",
        "times the median: gaps?",
        "2 more files of this series left out: duplicate",
    ):
        assert message in output, message
    assert "Traceback" not in output
    table = pd.read_csv(project_copy / "data/07_model_output/new_study/latest/predictions.csv")
    slices = table[table["level"] == "slice"]
    assert slices.groupby("study_id")["sop_instance_uid"].size().to_dict() == {
        "ID_gap": len(gap),
        "ID_two": 9,
    }
    assert set(soft) <= set(slices["sop_instance_uid"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "contains no files"),
        (lambda folder: (folder / "a.txt").write_text("x"), "Nothing in the source"),
    ],
)
def test_source_without_studies_gives_a_message(project_copy, tmp_path, make, message: str) -> None:
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
    planted = tmp_path / "in" / "ZZPLANTEDOTHER"
    write_study(planted, "ID_bad", shape=(96, 96), z_mm=[0.0, 5.0, 10.0])
    for path in planted.rglob("*.dcm"):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) - 96 * 96])
    result = _run(project_copy, tmp_path / "in", "fast=true")
    assert result.returncode != 0
    assert "ID_bad" in result.stdout + result.stderr
    assert "ZZPLANTEDOTHER" not in result.stdout + result.stderr
    for path in _outputs(project_copy):
        if path.name == "sources.csv":
            continue
        assert b"ZZPLANTEDOTHER" not in path.read_bytes(), path


def test_each_run_has_its_own_folder_and_a_reused_name_starts_empty(project_copy, tmp_path) -> None:
    for name in ("one", "two"):
        _study(tmp_path / name, f"ID_{name}")
    results = project_copy / "data/07_model_output/new_study"
    commands = [
        ("--pipelines", "new_study", "--params", f"source={tmp_path / name},{options}")
        for name, options in (
            ("one", "fast=true,dicom_output=true,output=first"),
            ("two", "fast=true,dicom_output=true"),
        )
    ]
    assert [run.returncode for run in run_at_once(project_copy, *commands)] == [0, 0]
    folders = [path for path in results.iterdir() if not path.is_symlink()]
    assert len(folders) == 2
    for folder in folders:
        name = "ID_one" if folder.name == "first" else "ID_two"
        assert set(pd.read_csv(folder / "predictions.csv")["study_id"]) == {name}
        assert (folder / "dicom/study_1/report.dcm").is_file()
        assert (project_copy / f"data/08_reporting/new_study/{folder.name}/report.html").is_file()
    newest = (results / "latest").resolve()
    assert newest in folders
    assert _run(project_copy, tmp_path / "nowhere", "output=first").returncode != 0
    left = {path.name for path in (results / "first").rglob("*") if path.is_file()}
    assert not left & {"predictions.csv", "predictions.parquet", "report.dcm"}
    assert (results / "latest").resolve() == newest


def test_output_must_be_the_name_of_a_folder(project_copy, tmp_path) -> None:
    for name in ("../up", "latest", ".hidden", "a/b"):
        result = _run(project_copy, tmp_path, f"output={name}")
        assert result.returncode != 0
        assert "expected a folder name" in " ".join((result.stdout + result.stderr).split())


def test_without_trained_models_the_small_model_predicts(empty_project, tmp_path) -> None:
    _study(tmp_path / "in", "ID_one")
    result = _run(empty_project, tmp_path / "in", "output=small")
    output = " ".join(result.stdout.split())
    assert result.returncode == 0, output
    assert output.count("using the small model of this package") == 1
    assert "Study 1: any " in output
    assert "Predicted by 1 checkpoint in fp32: small_400 alone" in output
    data = empty_project / "data"
    page = (data / "08_reporting" / "new_study" / "small" / "report.html").read_text()
    assert f"{SYNTHETIC_ONLY}; AUC of any on " in page.split("Worklist")[0]
    table = pd.read_csv(data / "07_model_output" / "new_study" / "small" / "predictions.csv")
    assert set(table["trained_on"]) == {"synthetic"}


def test_message_without_a_trained_model_says_how_to_get_one(empty_project, tmp_path) -> None:
    _study(tmp_path / "in", "ID_one")
    result = _run(empty_project, tmp_path / "in", "models=resnet18_400")
    output = " ".join((result.stdout + result.stderr).split())
    assert result.returncode != 0
    assert "kedro run --env demo" in output
    result = run_here(empty_project, "--pipelines", "new_study")
    assert "--params source=PATH" in " ".join((result.stdout + result.stderr).split())


def _mixed_dozen(folder: Path) -> dict[str, tuple[str, set[str]]]:
    """Twelve studies, eight irregular; StudyInstanceUID and SOPInstanceUIDs by PatientID."""
    root = "1.2.826.0.1.3680043.9.7"
    odd = {
        "P4": ({}, f"{root}.50", "50"),  # Two patients with the same SOPInstanceUIDs.
        "P5": ({}, f"{root}.51", "50"),
        "P6": ({}, f"{root}.60", "60"),  # Two patients with the same StudyInstanceUID.
        "P7": ({}, f"{root}.60", "61"),
        "P8": ({"PatientBirthDate": "00/00/0000", "PatientSex": "male"}, f"{root}.8", "8"),
        "P9": ({"StudyDate": "2019.06.01"}, f"{root}.9", "9"),
        "P10": ({"BodyPartExamined": "ABDOMEN"}, f"{root}.10", "10"),
    }
    plain = {f"P{k}": ({"PatientName": "山田^太郎"}, f"{root}.{k}", f"{k}") for k in range(4)}
    made = {}
    for patient, (change, study, sop) in (plain | odd).items():
        uids = write_study(
            folder / patient,
            study,
            patient=patient,
            names=[f"{root}.{sop}.{number}" for number in range(9)],
            z_mm=[5.0 * number for number in range(9)],
            shape=(96, 96),
            series=f"{study}.{patient[1:]}.1",
            change={"SpecificCharacterSet": "ISO_IR 192", **change},
        )
        made[patient] = (study, set(uids))
    for number in range(9):
        write_slice(
            *[folder / "P11" / f"{number}.dcm"],
            **{"uid": f"{root}.11.1", "study": f"{root}.11", "patient": "P11"},
            **{"position": (-4.0, -4.0, 5.0 * number), "shape": (96, 96)},
        )
    return made | {"P11": (f"{root}.11", {f"{root}.11.1"})}


def test_each_of_twelve_mixed_studies_has_its_own_results(project_copy, tmp_path) -> None:
    expected = _mixed_dozen(tmp_path / "in")
    options = ("dicom_output=true", "include_phi=true", "models:resnet18_400")
    result = _run(project_copy, tmp_path / "in", *options)
    output = " ".join((result.stdout + result.stderr).split())
    assert result.returncode != 0
    assert "2 of 12 studies could not be predicted or written as DICOM" in output
    assert "Traceback" not in output
    folder = project_copy / "data/07_model_output/new_study/latest"
    table = pd.read_csv(folder / "predictions.csv", dtype=str)
    assert set(table["patient_id"]) == set(expected) - {"P10"}
    for patient, rows in table.groupby("patient_id"):
        study, uids = expected[patient]
        assert set(rows["study_id"]) == {study}
        assert set(rows["sop_instance_uid"]) == uids
        assert len(rows) == 10
    written = {}
    for path in sorted((folder / "dicom").rglob("*.dcm")):
        made = dcmread(path)
        study, uids = expected[str(made.PatientID)]
        written.setdefault(path.name, []).append(str(made.PatientID))
        assert study == made.StudyInstanceUID
        referred = [e.value for e in made.iterall() if e.keyword == "ReferencedSOPInstanceUID"]
        assert referred
        assert set(referred) <= uids
        number = int(path.parent.name.removeprefix("study_"))
        assert set(table.loc[table["study_number"] == str(number), "patient_id"]) == {
            made.PatientID
        }
    assert sorted(written["report.dcm"]) == sorted(set(expected) - {"P10", "P11"})
