import logging
import warnings
from pathlib import Path

import numpy as np
import pytest
from pydicom import config, dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from dicom_factory import PLAIN, ct_dataset, write_dataset, write_slice
from rsna19_kedro.dicom.headers import COLUMNS, read_headers, read_rows
from rsna19_kedro.dicom.quiet import quiet_pydicom


def problem(path: Path) -> str | None:
    return read_rows(path)[0]["problem"]


# docs/data_quirks.md#intercepts-and-stored-types
@pytest.mark.parametrize("syntax", [*PLAIN, RLELossless, JPEG2000Lossless], ids=lambda s: s.name)
def test_every_value_is_read_in_every_syntax(tmp_path: Path, syntax):
    path = write_slice(
        tmp_path / "ID_000012eaf.dcm",
        syntax=syntax,
        study="ID_study",
        patient="ID_patient",
        series="ID_series",
        position=(-125.0, -140.25, 60.5),
        orientation=(1, 0, 0, 0, 0.913545, -0.406737),
        shape=(40, 48),
        spacing=(0.5, 0.75),
        signed=False,
        bits_stored=12,
        intercept=-1000,
    )
    (row,) = read_rows(path)
    assert row == {
        **dict.fromkeys(COLUMNS),
        "sop_instance_uid": "ID_000012eaf",
        "study_id": "ID_study",
        "patient_id": "ID_patient",
        "series_instance_uid": "ID_series",
        "sop_class_uid": str(CTImageStorage),
        "modality": "CT",
        "photometric_interpretation": "MONOCHROME2",
        "rows": 40,
        "columns": 48,
        "bits_allocated": 16,
        "bits_stored": 12,
        "high_bit": 11,
        "pixel_representation": 0,
        "samples_per_pixel": 1,
        "rescale_intercept": -1000.0,
        "rescale_slope": 1.0,
        "window_center": 40.0,
        "window_width": 80.0,
        "position_x": -125.0,
        "position_y": -140.25,
        "position_z": 60.5,
        **{f"orientation_{i}": v for i, v in enumerate((1, 0, 0, 0, 0.913545, -0.406737))},
        "row_spacing_mm": 0.5,
        "col_spacing_mm": 0.75,
        "transfer_syntax_uid": str(syntax),
    }


# docs/data_quirks.md#intercepts-and-stored-types
@pytest.mark.parametrize("intercept", [-1024, -1000, 0])
@pytest.mark.parametrize(("signed", "bits"), [(True, 16), (False, 12)])
def test_stored_types_and_intercepts(tmp_path: Path, intercept, signed, bits):
    path = write_slice(tmp_path / "a", intercept=intercept, signed=signed, bits_stored=bits)
    (row,) = read_rows(path)
    values = [row[key] for key in ("rescale_intercept", "pixel_representation", "bits_stored")]
    assert values == [intercept, int(signed), bits]
    assert row["problem"] is None


# docs/data_quirks.md#header-values
def test_first_of_several_window_values(tmp_path: Path):
    path = write_slice(tmp_path / "a.dcm", window=(("00040", "00041"), ("00080", "00081")))
    (row,) = read_rows(path)
    assert (row["window_center"], row["window_width"]) == (40.0, 80.0)


# docs/data_quirks.md#invalid-uids
def test_invalid_uids_cause_no_warnings(tmp_path: Path, caplog, capfd):
    path = write_slice(tmp_path / "ID_000012eaf.dcm")
    with warnings.catch_warnings(), caplog.at_level(logging.DEBUG):
        warnings.simplefilter("error")
        assert read_headers(tmp_path, [path.name])[0]["sop_instance_uid"] == "ID_000012eaf"
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_pydicom_warns_about_such_a_uid_until_it_is_silenced(tmp_path: Path, caplog):
    path = write_slice(tmp_path / "ID_000012eaf.dcm")
    config.settings.reading_validation_mode = config.WARN
    logging.getLogger("pydicom").setLevel(logging.WARNING)
    with warnings.catch_warnings(record=True):
        assert dcmread(path).SOPInstanceUID == "ID_000012eaf"
    assert "ID_000012eaf" in caplog.text
    caplog.clear()
    quiet_pydicom()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dcmread(path).SOPInstanceUID == "ID_000012eaf"
    assert caplog.records == []


# docs/data_quirks.md#image-sizes
@pytest.mark.parametrize("shape", [(408, 374), (768, 768), (638, 490)])
def test_other_sizes_than_512(tmp_path: Path, shape):
    (row,) = read_rows(write_slice(tmp_path / "a.dcm", shape=shape))
    assert (row["rows"], row["columns"], row["problem"]) == (*shape, None)


# docs/data_quirks.md#truncated-pixel-data
@pytest.mark.parametrize("syntax", PLAIN[:3], ids=lambda s: s.name)
def test_truncated_pixels_are_detected_by_the_file_size(tmp_path: Path, syntax):
    path = write_slice(
        tmp_path / "ID_6431af929.dcm", syntax=syntax, shape=(512, 512), pixel_bytes=153_710
    )
    assert problem(path) == "truncated pixel data: 153710 of 524288 bytes"


# docs/data_quirks.md#truncated-pixel-data
def test_pixel_element_that_is_shorter_than_the_image(tmp_path: Path):
    path = write_slice(tmp_path / "a.dcm", change={"PixelData": bytes(100)})
    assert problem(path) == "truncated pixel data: 100 of 512 bytes"


def test_padding_after_the_pixels_is_not_a_truncation(tmp_path: Path):
    path = write_slice(tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes() + bytes(64))
    assert problem(path) is None


# docs/data_quirks.md#files-that-are-no-slices
@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"drop": ["PixelData"]}, "no pixel data"),
        ({"change": {"Modality": "MR"}}, "not CT: modality MR"),
        ({"drop": ["SOPInstanceUID"]}, "no SOPInstanceUID"),
        ({"drop": ["StudyInstanceUID"]}, "no StudyInstanceUID"),
        ({"change": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}}, "a localizer"),
        ({"change": {"NumberOfFrames": 3}}, "several frames in one file: 3"),
        ({"change": {"SamplesPerPixel": 3}}, "a colour image: 3 samples"),
        ({"drop": ["Rows"]}, "no image size"),
        ({"drop": ["Modality"]}, None),  # The file meta group says that it is CT.
        ({"drop": ["PatientID", "PixelSpacing", "WindowCenter"]}, None),
    ],
    ids=str,
)
def test_problems_of_unusable_slices(tmp_path: Path, tags, expected):
    path = tmp_path / "a.dcm"
    write_dataset(path, ct_dataset("ID_a", **tags))
    assert problem(path) == expected


def test_files_that_are_not_dicom(tmp_path: Path):
    for name, content in {"empty": b"", "text": b"ID,Label\n" * 99, "short": b"x"}.items():
        (tmp_path / name).write_bytes(content)
    names = ["empty", "text", "short", "gone"]
    problems = [row["problem"] for row in read_headers(tmp_path, names)]
    assert problems[:3] == ["empty file", "not DICOM", "not DICOM"]
    assert str(problems[3]).startswith("cannot be read: No such file")


def test_a_folder_instead_of_a_file(tmp_path: Path):
    assert str(problem(tmp_path)).startswith("cannot be read: ")


def test_dicomdir_is_named():
    assert problem(Path(get_testdata_file("DICOMDIR"))) == "a DICOMDIR, not an image"


# docs/data_quirks.md#files-that-are-no-slices
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_without_preamble_and_suffix(tmp_path: Path, syntax):
    path = write_slice(tmp_path / "IM000001", syntax=syntax, preamble=False)
    (row,) = read_rows(path)
    assert (row["sop_instance_uid"], row["problem"]) == ("IM000001", None)
    assert row["transfer_syntax_uid"] == syntax


def test_a_header_longer_than_the_first_read(tmp_path: Path):
    long = {"ImageComments": "x" * 9000}
    path = write_slice(tmp_path / "a.dcm", change=long, pixel_bytes=100)
    (row,) = read_rows(path)
    assert row["rescale_slope"] == 1.0
    assert row["problem"] == "truncated pixel data: 100 of 512 bytes"
    assert read_rows(write_slice(tmp_path / "b.dcm", change=long))[0]["problem"] is None


def test_a_file_truncated_in_its_header(tmp_path: Path):
    path = write_slice(tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes()[:600])
    assert problem(path) == "no pixel data"


def test_malformed_values_are_null(tmp_path: Path):
    path = write_slice(tmp_path / "a.dcm", intercept=-1024)
    content = path.read_bytes().replace(b"-1024", b"nix!!").replace(b"40", b"??")
    path.write_bytes(content)
    (row,) = read_rows(path)
    assert row["rescale_intercept"] is None
    assert row["window_center"] is None
    assert row["problem"] is None


def test_a_vector_with_a_missing_part_is_null(tmp_path: Path):
    path = write_slice(tmp_path / "a.dcm", change={"ImagePositionPatient": ["1", "2"]})
    assert read_rows(path)[0]["position_x"] is None


@pytest.mark.real_data
def test_real_slices_in_many_syntaxes(open_ct: Path):
    names = sorted(p.name for p in (open_ct / "transfer_syntaxes").glob("CT2_*") if not p.suffix)
    rows = read_headers(open_ct / "transfer_syntaxes", names)
    assert len(rows) == 7
    assert {(row["rows"], row["problem"]) for row in rows} == {(512, None)}
    assert len({row["transfer_syntax_uid"] for row in rows}) == 7


@pytest.mark.real_data
def test_real_headers_agree_with_pydicom(rsna_sample: Path):
    for path in sorted((rsna_sample / "stage_2_test").iterdir())[::9]:
        (row,), ds = read_rows(path), dcmread(path, stop_before_pixels=True)
        position = [row[f"position_{axis}"] for axis in "xyz"]
        np.testing.assert_array_equal(position, np.array(ds.ImagePositionPatient, dtype=float))
        assert row["patient_id"] == ds.PatientID
        assert row["problem"] is None
