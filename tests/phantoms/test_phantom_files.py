import re
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.errors import InputError
from rsna19_kedro.phantoms import (
    Acquisition,
    PhantomSet,
    acquire,
    build_study,
    make_head,
    plan_studies,
    replace_phantoms,
    write_phantoms,
)
from rsna19_kedro.phantoms import generate as generation
from rsna19_kedro.phantoms.dicom_writer import StudyHeader, write_slices
from rsna19_kedro.phantoms.plan import slice_uids

SMALL = PhantomSet(
    seed=7,
    train_studies=12,
    test_studies=3,
    studies_per_patient=1.5,
    slices=(5, 7),
    size_px=64,
    pixel_spacing_mm=(3.3, 3.5),
    masked_fraction=0.4,
    uneven_fraction=0.25,
)
TINY = SMALL.model_copy(update=dict(train_studies=3, test_studies=1))
TAGS = (
    *("SOPInstanceUID", "Modality", "PatientID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("StudyID", "ImagePositionPatient", "ImageOrientationPatient", "SamplesPerPixel"),
    *("PhotometricInterpretation", "Rows", "Columns", "PixelSpacing", "BitsAllocated"),
    *("BitsStored", "HighBit", "PixelRepresentation", "WindowCenter", "WindowWidth"),
    *("RescaleIntercept", "RescaleSlope"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    target = tmp_path_factory.mktemp("phantoms")
    write_phantoms(target, SMALL, workers=1)
    return target


@pytest.fixture(scope="module")
def headers(folder):
    return {path.stem: pydicom.dcmread(path) for path in folder.glob("stage_2_*/*.dcm")}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def repaired_hu(ds):
    """Compute HU by the rules of docs/data_quirks.md#values-wrapped-at-12-bits."""
    raw = ds.pixel_array.astype(int)
    intercept = float(ds.RescaleIntercept)
    if ds.BitsStored == 12 and ds.PixelRepresentation == 0 and intercept > -100:
        raw = raw + 1000
        raw[raw >= 4096] -= 4096
        intercept = -1000
    return raw + intercept


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize(
    ("pixels", "bits", "padding", "floor"),
    [("signed", 16, -3024, -1000), ("unsigned", 12, -1024, -1000), ("wrapped", 12, -1000, -1000)],
)
def test_dicom_preserves_the_hu(tmp_path, pixels, bits, padding, floor, implicit):
    scan = acquire(make_head(1), Acquisition((0.0, 9.0), size_px=80, pixel_spacing_mm=2.8), seed=2)
    header = StudyHeader("ID_a", "ID_b", "ID_c", pixels, implicit, two_windows=True)
    write_slices(tmp_path, scan, header, ["ID_000000001", "ID_000000002"])
    for k, name in enumerate(["ID_000000001", "ID_000000002"]):
        ds = pydicom.dcmread(tmp_path / f"{name}.dcm")
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        assert ds.file_meta.TransferSyntaxUID == syntax
        assert (ds.BitsStored, ds.HighBit) == (bits, bits - 1)
        assert len(ds.WindowCenter) == 2
        outside = scan.hu[k] == -2000
        read = repaired_hu(ds)
        assert (read[outside] == padding).all()
        expected = np.clip(np.rint(scan.hu[k]), floor, 3000)
        np.testing.assert_array_equal(read[~outside], expected[~outside])
    if pixels == "wrapped":
        assert ds.pixel_array.max() > 3000  # Air.
    if pixels == "signed":
        assert ds.pixel_array.min() == -2000


def test_files_are_like_those_of_the_challenge(headers):
    for name, ds in headers.items():
        assert ds.SOPInstanceUID == name
        assert re.fullmatch(r"ID_[0-9a-f]{9}", name)
        assert re.fullmatch(r"ID_[0-9a-f]{8}", ds.PatientID)
        assert re.fullmatch(r"ID_[0-9a-f]{10}", ds.StudyInstanceUID)
        assert [tag for tag in TAGS if tag not in ds] == []
        assert "SliceThickness" not in ds
        assert ds.Rows == ds.Columns == 64
    syntaxes = {ds.file_meta.TransferSyntaxUID for ds in headers.values()}
    assert syntaxes == {ImplicitVRLittleEndian, ExplicitVRLittleEndian}
    assert {ds.PixelRepresentation for ds in headers.values()} == {0, 1}
    assert {ds.WindowCenter.__class__.__name__ for ds in headers.values()} == {
        "DSfloat",
        "MultiValue",
    }


def test_the_set_has_the_requested_composition(folder, headers):
    table = pd.DataFrame(
        {
            "uid": name,
            "study": ds.StudyInstanceUID,
            "patient": ds.PatientID,
            "z": float(ds.ImagePositionPatient[2]),
            "tilted": float(ds.ImageOrientationPatient[5]) != 0,
        }
        for name, ds in sorted(headers.items())
    )
    studies = table.groupby("study").agg({"patient": "nunique", "tilted": "first"})
    assert len(studies) == 15
    assert (studies["patient"] == 1).all()
    assert table["patient"].nunique() == 10  # 15 studies, 1.5 per patient.
    assert studies["tilted"].sum() == round(0.55 * 15)
    steps = [np.diff(np.sort(z)) for _, z in table.groupby("study")["z"]]
    uneven = [np.ptp(step) > 0.1 for step in steps]
    assert sum(uneven) == round(0.25 * 15)
    order = [np.corrcoef(np.arange(len(z)), z)[0, 1] for _, z in table.groupby("study")["z"]]
    assert min(order) < 0.9  # File names are not in the order of the slices.
    assert len(list((folder / "masks").glob("*.nii.gz"))) == 5  # 0.4 of 12.


def test_labels_agree_with_the_masks(folder, headers):
    labels = pd.read_csv(folder / "stage_2_train.csv").set_index("ID")["Label"]
    train = {path.stem for path in (folder / "stage_2_train").iterdir()}
    assert len(labels) == 6 * len(train)
    assert {i.rsplit("_", 1)[0] for i in labels.index} == train
    plans = [plan for plan in plan_studies(SMALL) if plan.subset == "train"]
    for plan in plans:
        head, how = build_study(SMALL, plan)
        scan = acquire(head, how, seed=(SMALL.seed, 3, plan.index))
        uids = slice_uids(SMALL, plan, len(scan.hu))
        for uid, mask in zip(uids, scan.mask, strict=True):
            expected = [int((mask == k).sum() > 3) for k in range(1, 6)]
            written = [labels[f"{uid}_{name}"] for name in CLASSES]
            assert written == [*expected, max(expected)]
    assert labels.sum() > 20


def test_masks_are_aligned_with_the_slices(folder, headers):
    """Each voxel of each mask is matched to its DICOM slice by position."""
    truth = pd.read_parquet(folder / "phantom_truth.parquet").set_index("sop_instance_uid")
    directions = set()
    for path in (folder / "masks").iterdir():
        image = nibabel.load(path)
        values = np.asarray(image.dataobj)
        directions.add(np.sign(image.affine[2, 2]))
        study = path.name.removesuffix(".nii.gz")
        for uid in truth.index[truth["study_id"] == study]:
            ds = headers[uid]
            corner = np.array(ds.ImagePositionPatient, float)
            frame = np.array(ds.ImageOrientationPatient, float).reshape(2, 3)
            r, c = np.mgrid[:64, :64]
            spacing = np.array(ds.PixelSpacing, float)
            lps = (
                corner + c[..., None] * frame[0] * spacing[1] + r[..., None] * frame[1] * spacing[0]
            )
            ras = np.concatenate([lps * (-1, -1, 1), np.ones((64, 64, 1))], axis=-1)
            ijk = ras @ np.linalg.inv(image.affine).T
            np.testing.assert_allclose(ijk, np.rint(ijk), atol=0.02)
            i, j, k = np.rint(ijk[..., :3]).astype(int).transpose(2, 0, 1)
            mask = values[i, j, k]
            area = [(mask == value).sum() * spacing.prod() for value in range(1, 6)]
            expected = truth.loc[uid, [f"area_mm2_{name}" for name in CLASSES[:5]]]
            np.testing.assert_allclose(area, expected.to_numpy(float), rtol=1e-4)
            if mask.any():
                assert repaired_hu(ds)[mask > 0].mean() > 30
    assert directions == {-1, 1}


def test_the_sample_submission_contains_the_sorted_test_slices(folder):
    sample = pd.read_csv(folder / "stage_2_sample_submission.csv")
    test = {path.stem for path in (folder / "stage_2_test").iterdir()}
    assert list(sample["ID"]) == sorted(f"{uid}_{name}" for uid in test for name in CLASSES)
    assert (sample["Label"] == 0.5).all()


def test_layout_2019(tmp_path):
    what = TINY.model_copy(update=dict(train_studies=5, layout="2019", stage_1_test_fraction=0.4))
    write_phantoms(tmp_path, what, workers=1)
    names = {
        name: {path.stem for path in (tmp_path / name).iterdir()}
        for name in ("stage_1_train_images", "stage_1_test_images", "stage_2_test_images")
    }
    labelled = {
        stage: {i[:12] for i in pd.read_csv(tmp_path / f"stage_{stage}_train.csv")["ID"]}
        for stage in (1, 2)
    }
    assert all(names.values())
    assert labelled[1] == names["stage_1_train_images"]
    assert labelled[2] == names["stage_1_train_images"] | names["stage_1_test_images"]
    assert not (tmp_path / "stage_2_train").exists()


def test_files_do_not_depend_on_workers_and_interruptions(tmp_path, monkeypatch):
    write_phantoms(tmp_path / "two", TINY, workers=2)
    made = []
    real = generation.acquire

    def fails_at_the_third(*args, **kwargs):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(1)
        return real(*args, **kwargs)

    monkeypatch.setattr(generation, "acquire", fails_at_the_third)
    broken = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        write_phantoms(broken, TINY, workers=1)
    assert not (broken / "phantoms.json").exists()
    assert (broken / ".phantoms-started.json").exists()
    before = {path: path.stat().st_mtime_ns for path in broken.rglob("*.dcm")}
    assert before
    monkeypatch.setattr(generation, "acquire", real)
    write_phantoms(broken, TINY, workers=1)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert contents(broken) == contents(tmp_path / "two")
    times = {path: path.stat().st_mtime_ns for path in broken.rglob("*")}
    write_phantoms(broken, TINY, workers=1)  # Complete: no file is changed.
    assert {path: path.stat().st_mtime_ns for path in broken.rglob("*")} == times


def test_other_parameters_are_refused(folder):
    with pytest.raises(InputError, match=r"seed.*was 7.*another raw_dir"):
        write_phantoms(folder, SMALL.model_copy(update=dict(seed=8)), workers=1)


def test_a_folder_with_other_files_is_refused_and_unchanged(tmp_path):
    (tmp_path / "stage_2_train").mkdir()
    (tmp_path / "stage_2_train" / "ID_1.dcm").write_bytes(b"real")
    (tmp_path / ".gitkeep").touch()
    before = contents(tmp_path)
    with pytest.raises(InputError, match="not phantoms"):
        write_phantoms(tmp_path, TINY, workers=1)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("layout", ["today", "2019"])
def test_a_set_replaces_another_one_even_after_an_interruption(tmp_path, monkeypatch, layout):
    wanted = TINY.model_copy(update=dict(seed=8, layout=layout))
    clean, folder = tmp_path / "clean", tmp_path / "folder"
    write_phantoms(clean, wanted, workers=1)
    write_phantoms(folder, TINY, workers=1)
    old, replace, moved = contents(folder), Path.replace, []

    def interrupted(path, target):
        if path.parent.name == ".phantoms-next" and Path(target).parent == folder:
            moved.append(path)
            if len(moved) == 3:
                raise KeyboardInterrupt
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            replace_phantoms(folder, wanted, workers=1)
    replace_phantoms(folder, wanted, workers=1)
    assert contents(folder) == contents(clean) != old
