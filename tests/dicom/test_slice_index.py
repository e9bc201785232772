from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import RLELossless

from dicom_factory import tilted, write_slice, write_study
from rsna19_kedro.dicom.headers import read_headers
from rsna19_kedro.dicom.slice_index import headers_table, is_truncated, number_slices
from rsna19_kedro.errors import SourceError

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def index(folder: Path, subset: str = "train") -> pd.DataFrame:
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.dcm"))
    rows = read_headers(folder, files)
    return number_slices(headers_table([{**row, "subset": subset} for row in rows]), folder)


def numbers(table: pd.DataFrame) -> dict[str, int | None]:
    pairs = zip(table["sop_instance_uid"], table["slice_num"], strict=True)
    return {uid: None if pd.isna(number) else int(number) for uid, number in pairs}


# docs/data_quirks.md#order-of-slices
def test_slices_are_numbered_from_feet_to_head(tmp_path: Path):
    write_study(tmp_path, "s", z_mm=(10, -5, 0), names=("ID_a", "ID_b", "ID_c"))
    table = index(tmp_path)
    assert numbers(table) == {"ID_b": 0, "ID_c": 1, "ID_a": 2}
    assert table["sop_instance_uid"].tolist() == ["ID_b", "ID_c", "ID_a"]
    assert table["position_mm"].tolist() == [-5, 0, 10]
    assert table["slice_num"].dtype == "Int64"


# docs/data_quirks.md#gantry-tilt
@pytest.mark.parametrize("angle", [-24.0, 0.0, 26.0])
def test_tilt_and_offsets_of_a_tilted_study(tmp_path: Path, angle):
    write_study(tmp_path, "s", z_mm=(0, 5, 10), tilt_deg=angle)
    table = index(tmp_path)
    np.testing.assert_allclose(table["tilt_deg"], angle, atol=1e-4)
    radians = np.deg2rad(angle)
    np.testing.assert_allclose(np.diff(table["position_mm"]), 5 * np.cos(radians), atol=1e-4)
    np.testing.assert_allclose(np.diff(table["col_offset_mm"]), 5 * np.sin(radians), atol=1e-4)
    np.testing.assert_allclose(np.diff(table["row_offset_mm"]), 0, atol=1e-4)


# docs/data_quirks.md#uneven-slice-distances
def test_uneven_distances_and_equal_positions(tmp_path: Path):
    write_study(tmp_path, "s", z_mm=(12.4, 0, 2.4, 2.4, 7.4), names=tuple("edcba"))
    table = index(tmp_path)
    assert numbers(table) == {"d": 0, "b": 1, "c": 2, "a": 3, "e": 4}
    assert table["position_mm"].tolist() == pytest.approx([0, 2.4, 2.4, 7.4, 12.4])
    assert table["problem"].isna().all()


# docs/data_quirks.md#truncated-pixel-data
def test_a_truncated_slice_keeps_its_number(tmp_path: Path):
    write_study(tmp_path, "s", names=tuple("abc"))
    write_slice(tmp_path / "b.dcm", study="s", patient="s_patient", position=(-4, -4, 5),
                pixel_bytes=10)  # fmt: skip
    table = index(tmp_path)
    assert numbers(table) == {"a": 0, "b": 1, "c": 2}
    assert is_truncated(table).tolist() == [False, True, False]


def test_unusable_files_have_a_problem_and_no_number(tmp_path: Path):
    write_study(tmp_path, "s", names=tuple("abc"))
    write_slice(tmp_path / "b.dcm", study="s", position=(-4, -4, 5), drop=["PixelData"])
    (tmp_path / "notes.dcm").write_text("not an image")
    table = index(tmp_path).set_index("path")
    assert table["slice_num"].to_dict() == {
        "a.dcm": 0, "b.dcm": None, "c.dcm": 1, "notes.dcm": None,
    }  # fmt: skip
    assert table.loc["b.dcm", "problem"] == "no pixel data"
    assert table.loc["notes.dcm", "problem"] == "not DICOM"


def test_one_file_of_a_repeated_uid_is_used(tmp_path: Path):
    write_study(tmp_path / "one", "s", names=tuple("abc"))
    write_study(tmp_path / "two", "s", names=tuple("abc"))
    write_slice(tmp_path / "one" / "b.dcm", study="s", patient="s_patient", position=(-4, -4, 5),
                pixel_bytes=10)  # fmt: skip
    table = index(tmp_path).set_index("path")
    used = table[table["slice_num"].notna()]
    assert used.index.tolist() == ["one/a.dcm", "two/b.dcm", "one/c.dcm"]  # The intact file.
    assert table.loc["two/a.dcm", "problem"] == "duplicate of one/a.dcm"
    assert table.loc["one/b.dcm", "problem"] == "duplicate of two/b.dcm"


# docs/data_quirks.md#files-that-are-no-slices
def test_the_larger_axial_series_of_a_study_is_used(tmp_path: Path):
    write_study(tmp_path, "s", z_mm=(0, 5, 10), series="soft", names=tuple("abc"))
    write_study(tmp_path, "s", z_mm=(0, 5), series="bone", names=tuple("de"))
    for i in range(4):
        write_slice(tmp_path / f"sag{i}.dcm", study="s", patient="s_patient", series="sagittal",
                    orientation=SAGITTAL, position=(i, 0, 0))  # fmt: skip
    table = index(tmp_path)
    assert {uid for uid, number in numbers(table).items() if number is not None} == set("abc")
    other = table.loc[table["series_instance_uid"] == "bone", "problem"].unique().tolist()
    assert other == ["not used: another series or stack of the study is better (only 2 slices)"]


def test_a_study_belongs_to_one_patient(tmp_path: Path):
    write_study(tmp_path, "s", names=tuple("abc"), patient="p")
    write_study(tmp_path, "s", z_mm=(0, 5), names=tuple("de"), patient="q")
    with pytest.raises(
        SourceError, match=r"1 StudyInstanceUID belongs to several .* s: a\.dcm and d"
    ):
        index(tmp_path)


def test_a_uid_of_two_patients_is_refused(tmp_path: Path):
    write_study(tmp_path / "p", "s", names=tuple("abc"))
    write_study(tmp_path / "q", "t", names=tuple("bcd"))
    with pytest.raises(SourceError, match=r"2 SOPInstanceUIDs belong .* b: p/b\.dcm and q/b\.dcm"):
        index(tmp_path)


def test_images_that_share_a_uid_are_not_copies(tmp_path: Path):
    """Labels are by UID, so the second image with a UID cannot be used for training."""
    write_study(tmp_path, "s", names=tuple("abc"))
    write_slice(tmp_path / "d.dcm", uid="c", study="s", patient="s_patient", position=(-4, -4, 15))
    table = index(tmp_path).set_index("path")
    assert table.loc["d.dcm", "problem"] == "another image with the SOPInstanceUID of c.dcm"
    rows = [{**row, "subset": "test2"} for row in read_headers(tmp_path, ["c.dcm", "d.dcm"])]
    new = number_slices(headers_table(rows), tmp_path, training=False)
    assert new["slice_num"].tolist() == [0, 1]


def test_a_copy_in_another_transfer_syntax_is_a_copy(tmp_path: Path):
    study = {"study": "s", "patient": "p", "series": "r", "shape": (32, 32)}
    write_slice(tmp_path / "a.dcm", uid="a", **study)
    write_slice(tmp_path / "b.dcm", uid="a", syntax=RLELossless, **study)
    assert index(tmp_path).set_index("path").loc["b.dcm", "problem"] == "duplicate of a.dcm"


def test_slices_without_patient_belong_to_the_patient_of_their_study(tmp_path: Path):
    write_study(tmp_path, "s", names=tuple("abc"), patient="p")
    write_slice(
        tmp_path / "d.dcm", study="s", series="s_series", position=(-4, -4, 15), drop=["PatientID"]
    )
    assert index(tmp_path)["patient_id"].unique().tolist() == ["p"]


def test_a_study_without_patient_counts_as_one_patient(tmp_path: Path):
    write_study(tmp_path, "s", drop=["PatientID"])
    write_study(tmp_path, "t", drop=["PatientID"])
    assert index(tmp_path)["patient_id"].unique().tolist() == ["study:s", "study:t"]


# docs/data_quirks.md#unusable-geometry
def test_a_sagittal_study_is_ordered_along_its_normal(tmp_path: Path):
    for name, x in {"a": 3, "b": 1, "c": 2}.items():
        write_slice(tmp_path / f"{name}.dcm", orientation=SAGITTAL, position=(x, 0, 0))
    table = index(tmp_path)
    assert numbers(table) == {"b": 0, "c": 1, "a": 2}
    assert table["tilt_deg"].isna().all()
    assert table["problem"].isna().all()


# docs/data_quirks.md#unusable-geometry
@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ([{"position": (0, 0, 3 - i)} for i in range(3)], "cba"),  # z without an orientation.
        ([{"SliceLocation": 3 - i} for i in range(3)], "cba"),
        ([{"InstanceNumber": (2, 3, 1)[i]} for i in range(3)], "cab"),
        ([{}, {}, {}], "abc"),  # File names.
        ([{"position": (0, 0, 9)}, {}, {"position": (0, 0, 1)}], "cab"),  # No position: last.
    ],
)
def test_missing_geometry_falls_back(tmp_path: Path, tags, expected):
    for name, tag in zip("abc", tags, strict=True):
        position = tag.pop("position", None)
        drop = ["ImageOrientationPatient"] + ([] if position else ["ImagePositionPatient"])
        write_slice(tmp_path / f"{name}.dcm", position=position or (0, 0, 0), change=tag, drop=drop)
    table = index(tmp_path)
    assert "".join(table["sop_instance_uid"]) == expected
    assert table["slice_num"].tolist() == [0, 1, 2]
    assert table["problem"].isna().all()
    assert table["row_offset_mm"].isna().all()


def test_studies_of_one_slice(tmp_path: Path):
    write_slice(tmp_path / "a.dcm", study="s")
    write_slice(tmp_path / "b.dcm", study="t")
    assert index(tmp_path)["slice_num"].tolist() == [0, 0]


def header_row(study: str, uid: str, z: float, angle: float, pixels: str | None) -> dict:
    frame = {f"orientation_{i}": value for i, value in enumerate(tilted(angle))}
    position = {"position_x": 0.0, "position_y": 0.0, "position_z": z}
    return {
        "path": f"{uid}.dcm", "subset": "train", "sop_instance_uid": uid, "study_id": study,
        "patient_id": f"patient of {study}", "series_instance_uid": study, "problem": pixels,
        **frame, **position,
    }  # fmt: skip


@settings(deadline=None, max_examples=20)
@given(
    sizes=st.lists(st.integers(1, 8), min_size=1, max_size=5),
    angle=st.floats(-30, 30),
    seed=st.integers(0, 2**32 - 1),
)
def test_numbers_are_0_to_n_in_every_study_and_row_order(sizes, angle, seed):
    rng = np.random.default_rng(seed)
    rows = [
        header_row(f"s{s}", f"s{s}_{i}", z=float(2.5 * i), angle=angle,
                   pixels=rng.choice([None, None, "no pixel data"]))
        for s, n in enumerate(sizes) for i in range(n)
    ]  # fmt: skip
    table = number_slices(headers_table(rows), Path())
    shuffled = number_slices(headers_table([rows[i] for i in rng.permutation(len(rows))]), Path())
    pd.testing.assert_frame_equal(table, shuffled)
    for _, study in table[table["problem"].isna()].groupby("study_id"):
        assert study["slice_num"].tolist() == list(range(len(study)))
        assert study["position_z"].is_monotonic_increasing
    assert table.loc[table["problem"].notna(), "slice_num"].isna().all()
