"""Enhanced (multi-frame) CT: all frames in one file, and one frame per file."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedCTImageStorage, RLELossless

from dicom_factory import AXIAL, ct_dataset, small_head, write_dataset, write_slice
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.headers import read_headers
from rsna19_kedro.dicom.new_source import prepare_new_studies
from rsna19_kedro.errors import SourceError

Z = np.arange(10) * 5.0
SHAPE = (32, 32)


def _item(**attributes: object) -> Sequence:
    dataset = Dataset()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return Sequence([dataset])


def _enhanced(uid: str, z_mm, **change: object) -> Dataset:
    """Create frames at ``z_mm`` whose brightness encodes their position."""
    stored = np.concatenate([_hu(z) + 1024 for z in z_mm])
    drop = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
    ds = ct_dataset(uid, pixels=stored, bits_stored=12, signed=False, drop=drop)
    del ds.RescaleIntercept, ds.RescaleSlope
    ds.SOPClassUID, ds.Rows, ds.NumberOfFrames = EnhancedCTImageStorage, SHAPE[0], len(z_mm)
    shared, frames = Dataset(), []
    shared.PixelMeasuresSequence = _item(PixelSpacing=["0.5", "0.5"], SliceThickness="5")
    shared.PixelValueTransformationSequence = _item(
        RescaleIntercept="-1024", RescaleSlope="1", RescaleType="HU"
    )
    shared.CTReconstructionSequence = _item(ConvolutionKernel="H30s")
    for z in z_mm:
        frame = Dataset()
        frame.PlanePositionSequence = _item(ImagePositionPatient=["-4", "-4", str(z)])
        frame.PlaneOrientationSequence = _item(ImageOrientationPatient=[str(v) for v in AXIAL])
        frame.FrameContentSequence = _item(FrameAcquisitionNumber=1)
        frames.append(frame)
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    for name, value in change.items():
        setattr(ds, name, value)
    return ds


def _hu(z: float) -> np.ndarray:
    hu = small_head(SHAPE).round()
    hu[20:, 20:] = z
    return hu


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> np.ndarray:
    folder = tmp_path_factory.mktemp("plain")
    for z in Z:
        write_slice(folder / "in" / f"{z}.dcm", position=(-4, -4, z), pixels=_hu(z) + 1024)
    return _prepared(folder)


def _prepared(folder: Path) -> np.ndarray:
    store = VolumeStore(folder / "out")
    new = prepare_new_studies(folder / "in", store, crop_size_px=24)
    assert len(new.slices) == len(Z)
    return store.read("study_1")


@pytest.mark.parametrize("syntax", [None, RLELossless])
def test_all_frames_in_one_file(tmp_path: Path, plain, syntax) -> None:
    options = {} if syntax is None else {"syntax": syntax}
    write_dataset(tmp_path / "in" / "a.dcm", _enhanced("1.2", Z[::-1]), **options)
    np.testing.assert_array_equal(_prepared(tmp_path), plain)


def test_frames_in_several_files(tmp_path: Path, plain) -> None:
    for number, part in enumerate((Z[:4], Z[4:5], Z[5:])):
        write_dataset(tmp_path / "in" / f"{number}.dcm", _enhanced(f"1.{number}", part))
    np.testing.assert_array_equal(_prepared(tmp_path), plain)


def test_attributes_of_frames_override_those_of_the_file(tmp_path: Path) -> None:
    ds = _enhanced("1.2", Z, ContrastBolusAgentSequence=_item(CodeMeaning="Iohexol"))
    ds.PerFrameFunctionalGroupsSequence[0].CTImageFrameTypeSequence = _item(
        FrameType=["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]
    )
    write_dataset(tmp_path / "a.dcm", ds)
    rows = read_headers(tmp_path, ["a.dcm"])
    assert [row["frame"] for row in rows] == list(range(10))
    assert [row["problem"] for row in rows] == ["a localizer"] + [None] * 9
    assert {(row["kernel"], row["contrast_agent"]) for row in rows} == {("H30s", "Iohexol")}
    usage = _item(ContrastBolusAgentAdministered="NO")
    ds.SharedFunctionalGroupsSequence[0].ContrastBolusUsageSequence = usage
    write_dataset(tmp_path / "a.dcm", ds)
    assert read_headers(tmp_path, ["a.dcm"])[0]["contrast_agent"] == "NO"


def test_frames_without_functional_groups_are_refused(tmp_path: Path) -> None:
    ds = _enhanced("1.2", Z)
    del ds.PerFrameFunctionalGroupsSequence
    write_dataset(tmp_path / "in" / "a.dcm", ds)
    with pytest.raises(SourceError, match="frames without their positions"):
        prepare_new_studies(tmp_path / "in", VolumeStore(tmp_path / "out"))
