"""Choice of the series, and the reasons given for the others."""

from pathlib import Path

import pytest

from dicom_factory import AXIAL, write_slice
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom import new_source
from rsna19_kedro.dicom.headers import read_headers
from rsna19_kedro.dicom.new_source import prepare_new_studies
from rsna19_kedro.dicom.slice_index import choose_slices, headers_table
from rsna19_kedro.errors import InputError

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def _series(
    folder: Path,
    name: str,
    *,
    study: str = "ID_study",
    slices: int = 10,
    distance_mm: float = 5.0,
    orientation=AXIAL,
    positions=None,
    **change: str,
) -> None:
    for number in range(slices):
        z = number * distance_mm
        where = (-4.0, -4.0, z) if orientation is AXIAL else (z, -4.0, 4.0)
        write_slice(
            folder / name / f"{name}_{number}.dcm",
            uid=f"{study}_{name}_{number}",
            study=study,
            series=name,
            position=where if positions is None else (-4.0, -4.0, positions[number]),
            orientation=orientation,
            change=change,
        )


def _picked(folder: Path):
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.dcm"))
    rows = read_headers(folder, files)
    headers = headers_table([{**row, "subset": "test2"} for row in rows])
    return choose_slices(headers, folder, training=False)[1].set_index("series_instance_uid")


def test_soft_tissue_kernel_is_picked_and_bone_kernel_is_reported(tmp_path) -> None:
    _series(tmp_path, "bone", ConvolutionKernel="H60s", slices=12)
    _series(tmp_path, "soft", ConvolutionKernel="H30s")
    table = _picked(tmp_path)
    assert table["picked"].to_dict() == {"bone": False, "soft": True}
    assert "soft-tissue kernel" in table.loc["soft", "reason"]
    assert "bone kernel" in table.loc["bone", "reason"]


def test_the_only_series_is_used_even_with_a_bone_kernel(tmp_path) -> None:
    _series(tmp_path, "bone", ConvolutionKernel="BONE")
    table = _picked(tmp_path)
    assert table.loc["bone", "picked"]
    assert "bone kernel" in table.loc["bone", "reason"]


def test_usual_slice_distance_is_preferred(tmp_path) -> None:
    _series(tmp_path, "thin", slices=40, distance_mm=0.6)
    _series(tmp_path, "usual", slices=10)
    assert _picked(tmp_path)["picked"].to_dict() == {"thin": False, "usual": True}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"orientation": SAGITTAL}, "not axial"),
        ({"BodyPartExamined": "CHEST"}, "not a head"),
        ({"SeriesDescription": "Thorax 5.0 B31f"}, "not a head"),
        ({"ContrastBolusAgent": "Iohexol"}, "contrast agent"),
        ({"SeriesDescription": "CT ANGIO HEAD"}, "contrast agent"),
        ({"slices": 90}, "too long for a head"),
    ],
)
def test_series_other_than_plain_axial_heads_are_not_used(tmp_path, options, reason: str) -> None:
    _series(tmp_path, "other", **options)
    table = _picked(tmp_path)
    assert not table.loc["other", "picked"]
    assert reason in table.loc["other", "reason"]


def test_missing_slices_are_reported(tmp_path) -> None:
    _series(tmp_path, "gap", positions=[0, 5, 10, 15, 30, 35, 40, 45, 50, 55])
    assert "3.0 times the median: gaps?" in _picked(tmp_path).loc["gap", "reason"]


@pytest.mark.parametrize("in_processes", [False, True])
def test_bad_studies_do_not_prevent_good_ones(tmp_path, monkeypatch, in_processes) -> None:
    monkeypatch.setattr(new_source, "_WORTH_PROCESSES", 2 if in_processes else 100)
    source = tmp_path / "in"
    _series(source, "head", study="ID_good")
    _series(source, "again", study="ID_mr", Modality="MR")
    _series(source, "chest", study="ID_chest", BodyPartExamined="CHEST")
    (source / "note.txt").write_text("a note")
    (source / "head" / "copy.dcm").write_bytes((source / "head" / "head_3.dcm").read_bytes())
    store = VolumeStore(tmp_path / "out")
    new = prepare_new_studies(source, store, crop_size_px=16)
    studies = {study["study_id"]: study for study in new.findings["studies"]}
    assert store.study_ids() == [f"study_{studies['ID_good']['number']}"]
    assert new.slices["slice_num"].tolist() == list(range(10))
    assert {name for name, study in studies.items() if study["failed"]} == {"ID_mr", "ID_chest"}
    assert "not a head" in studies["ID_chest"]["failed"]
    assert "modality MR" in studies["ID_mr"]["failed"]
    assert new.findings["problems"] == {"not CT": 10, "not DICOM": 1}
    assert "1 more file of" in studies["ID_good"]["remarks"][0]
    assert len(new.files) == new.findings["files"]
    assert new.files.dropna(subset="slice_num")["sha256"].str.len().tolist() == [64] * 10


def test_a_series_whose_pixels_are_not_hu_is_replaced_by_another(tmp_path) -> None:
    """Only the pixels of the series show the error, not its headers."""
    _series(tmp_path / "in", "a", slices=12, RescaleIntercept="0")
    _series(tmp_path / "in", "plain")
    new = prepare_new_studies(tmp_path / "in", VolumeStore(tmp_path / "out"), crop_size_px=16)
    reasons = new.series.set_index("series_instance_uid")["reason"]
    assert reasons["plain"].startswith("used")
    assert "which are not HU" in reasons["a"]
    assert len(new.slices) == 10


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"distance_mm": 0.6, "slices": 40}, "0.6 mm apart: averaged in slabs of 8 for prediction"),
        ({"distance_mm": 10.0}, "10.0 mm apart, more than in the RSNA data"),
        ({"PixelSpacing": ["0.9766", "0.9766"]}, "its pixels of 0.98 mm are outside the range"),
    ],
)
def test_spacings_outside_the_training_range_are_reported(tmp_path, options, text: str) -> None:
    _series(tmp_path / "in", "a", **options)
    store = VolumeStore(tmp_path / "out")
    (study,) = prepare_new_studies(tmp_path / "in", store, crop_size_px=16).findings["studies"]
    assert any(text in remark for remark in study["remarks"])
    without_slabs = prepare_new_studies(tmp_path / "in", store, crop_size_px=16, slab_mm=0)
    (study,) = without_slabs.findings["studies"]
    assert not any("averaged in" in remark for remark in study["remarks"])


def test_images_at_one_position_are_reported(tmp_path) -> None:
    _series(tmp_path / "in", "again", positions=[0, 5, 5, 10, 15, 20, 25, 30, 30, 30])
    new = prepare_new_studies(tmp_path / "in", VolumeStore(tmp_path / "out"), crop_size_px=16)
    (study,) = new.findings["studies"]
    remarks = study["remarks"]
    assert any("3 of its 10 images repeat the position of another" in text for text in remarks)


def test_error_says_why_nothing_can_be_predicted(tmp_path) -> None:
    _series(tmp_path / "in", "scout", ImageType="ORIGINAL\\PRIMARY\\LOCALIZER")
    with pytest.raises(InputError, match=r"10 files: a localizer.*Expected axial CT"):
        prepare_new_studies(tmp_path / "in", VolumeStore(tmp_path / "out"))
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("hello")
    with pytest.raises(InputError, match="1 file: not DICOM"):
        prepare_new_studies(tmp_path / "text", VolumeStore(tmp_path / "out"))


def test_open_sample_is_prepared(open_ct: Path, tmp_path) -> None:
    new = prepare_new_studies(open_ct, VolumeStore(tmp_path))
    assert new.slices.groupby("study_number").size().max() == 28
    assert new.slices["study_number"].nunique() == 3
