"""Odd files in training data: the volume is as from plain files, or the study is left out."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedCTImageStorage, SecondaryCaptureImageStorage

from dicom_factory import ct_dataset, small_head, write_dataset, write_slice
from rsna19_kedro.cohort.download import find_download
from rsna19_kedro.cohort.ingestion import index_download
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.studies import prepare_studies
from rsna19_kedro.errors import SourceError

Z = np.arange(8) * 5.0
SHAPE = (40, 36)
SPACING = (0.5, 0.5)
FIRST = np.array([-9.0, -10.0, 0.0])


def _hu(z: float) -> np.ndarray:
    hu = small_head(SHAPE).round()
    hu[24:32, 6:14] = z + 40
    return hu


def _write(folder: Path, name: str = "s", *, hu: Callable = _hu, **options) -> None:
    """A study of plain slices, changed by options."""
    for number, z in enumerate(Z):
        defaults = {"position": np.add(FIRST, (0, 0, z)), "spacing": SPACING, "series": name}
        write_slice(
            folder / f"{name}_{number}.dcm",
            study="s",
            patient="p",
            **{**defaults, "pixels": hu(z) + 1024, **options},
        )


def _with(**change: object) -> Callable[[Path], None]:
    return lambda folder: _write(folder, change=change)


def _beside(**options: object) -> Callable[[Path], None]:
    """The plain study, and a series that is not to be used, with more slices and first by name."""

    def write(folder: Path) -> None:
        _write(folder)
        for number, z in enumerate(np.arange(12) * 3.5):
            write_slice(
                folder / f"a_{number}.dcm", study="s", patient="p", series="a", spacing=SPACING,
                position=np.add(FIRST, (0, 0, z)), pixels=_hu(z) + 1034, **options,
            )  # fmt: skip

    return write


def _turned(folder: Path) -> None:
    """Prone: rows and columns run the other way."""
    far = [(size - 1) * 0.5 for size in (SHAPE[1], SHAPE[0])]
    for number, z in enumerate(Z):
        write_slice(
            folder / f"s_{number}.dcm", study="s", patient="p", spacing=SPACING,
            position=np.add(FIRST, (*far, z)), orientation=(-1, 0, 0, 0, -1, 0),
            pixels=_hu(z)[::-1, ::-1] + 1024,
        )  # fmt: skip


def _one_frame_per_file(folder: Path) -> None:
    for number, z in enumerate(Z):
        ds = ct_dataset(f"s_{number}", study="s", patient="p", pixels=_hu(z) + 1024)
        ds.SOPClassUID, ds.NumberOfFrames = EnhancedCTImageStorage, 1
        groups = Dataset()
        for sequence, names in (
            ("PlanePositionSequence", ["ImagePositionPatient"]),
            ("PlaneOrientationSequence", ["ImageOrientationPatient"]),
            ("PixelMeasuresSequence", ["PixelSpacing"]),
            ("PixelValueTransformationSequence", ["RescaleIntercept", "RescaleSlope"]),
        ):
            item = Dataset()
            for name in names:
                setattr(item, name, ds[name].value)
                delattr(ds, name)
            setattr(groups, sequence, Sequence([item]))
        groups.PlanePositionSequence[0].ImagePositionPatient = [*FIRST[:2], z]
        ds.PerFrameFunctionalGroupsSequence = Sequence([groups])
        write_dataset(folder / f"s_{number}.dcm", ds)


def _page(folder: Path) -> None:
    _write(folder)
    write_slice(
        folder / "z.dcm", study="s", patient="p", series="s", pixels=np.full(SHAPE, 2000),
        drop=("ImagePositionPatient", "ImageOrientationPatient"),
    )  # fmt: skip


def _commas(folder: Path) -> None:
    _write(folder)
    for path in folder.iterdir():
        content = path.read_bytes()
        for tag in (b"\x28\x00\x30\x00DS", b"\x20\x00\x32\x00DS", b"\x28\x00\x52\x10DS"):
            at = content.index(tag) + 8
            stop = at + int.from_bytes(content[at - 2 : at], "little")
            content = content[:at] + content[at:stop].replace(b".", b",") + content[stop:]
        path.write_bytes(content)


def _overlay(folder: Path) -> None:
    _write(folder, hu=lambda z: np.where(_hu(z) > 500, _hu(z) + 4096, _hu(z)), bits_stored=12,
           signed=False)  # fmt: skip


def _padded(folder: Path) -> None:
    _write(folder, hu=lambda z: np.where(_hu(z) == -1000, 5000, _hu(z)),
           change={"PixelPaddingValue": 6024})  # fmt: skip


def _volumes(raw: Path) -> tuple[VolumeStore, list[str]]:
    index = index_download(find_download(raw), 100, 1)
    store = VolumeStore(raw / "volumes")
    prepare_studies(index, raw, store, 32, 1)
    unused = index[index["slice_num"].isna()]
    return store, unused["problem"].tolist()


@pytest.mark.parametrize(
    "write",
    [
        _turned,
        _one_frame_per_file,
        _page,
        _commas,
        _overlay,
        _with(RescaleType="US"),
        _with(SeriesDescription="HEAD W/O CONTRAST"),
        _with(BodyPartExamined="CHEST", SeriesDescription="BRAIN"),
        _beside(change={"ContrastBolusAgent": "Iohexol"}),
        _beside(change={"SeriesDescription": "CTA HEAD"}),
        _beside(change={"ConvolutionKernel": "Hr64h\\3"}),
        _beside(change={"RescaleType": "EDW"}),
        _beside(change={"SOPClassUID": SecondaryCaptureImageStorage}),
        _beside(change={"ImageType": "DERIVED\\SECONDARY\\MIP"}),
        _beside(change={"SeriesDescription": "Sinus 1.0 Hr60"}),
    ],
)
def test_the_volume_is_as_from_plain_files(tmp_path: Path, write: Callable) -> None:
    _write(tmp_path / "plain" / "stage_2_train")
    write(tmp_path / "odd" / "stage_2_train")
    plain, unused = _volumes(tmp_path / "plain")
    assert not unused
    odd, unused = _volumes(tmp_path / "odd")
    assert all(unused)
    np.testing.assert_array_equal(odd.read("s"), plain.read("s"))


def test_padding_is_air(tmp_path: Path) -> None:
    _padded(tmp_path / "stage_2_train")
    store, _ = _volumes(tmp_path)
    assert store.read("s").max() < 2000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop": ("RescaleIntercept", "RescaleSlope")}, "which are not HU: air is about -1000"),
        ({"intercept": -2500}, "instead of about -1000"),
        ({"change": {"SeriesDescription": "CT HEAD C+"}}, "with contrast agent"),
        ({"change": {"BodyPartExamined": "KNEE"}}, "not a head"),
        ({"change": {"RescaleType": "MGML"}}, "no HU but material density"),
        ({"change": {"NumberOfFrames": 2}}, "several frames in one file"),
    ],
)
def test_what_is_no_plain_head_in_hu_is_left_out_by_name(tmp_path, options, message) -> None:
    _write(tmp_path / "stage_2_train", **options)
    with pytest.raises(SourceError, match=message):
        _volumes(tmp_path)
