"""Writing of small valid DICOM CT slices, with any defect that a test needs."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydicom import config, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from rsna19_kedro.contracts import CLASSES

PLAIN = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def tilted(tilt_deg: float) -> tuple[float, ...]:
    """Return the orientation of an axial slice with a gantry tilt: atan(z2 / y2) = tilt."""
    angle = np.deg2rad(tilt_deg)
    return (1.0, 0.0, 0.0, 0.0, float(np.cos(angle)), float(np.sin(angle)))


def small_head(shape: tuple[int, int]) -> np.ndarray:
    """Return tissue from 0 to 100 HU, some bone, and air along two edges."""
    hu = np.linspace(0, 100, shape[0] * shape[1]).reshape(shape)
    hu[8:10, 4:] = 700
    hu[0] = hu[:, 0] = -1000
    return hu


@config.disable_value_validation()
def ct_dataset(
    uid: str,
    *,
    study: str = "ID_study",
    patient: str = "ID_patient",
    series: str | None = None,
    position: Sequence[float] = (-4.0, -4.0, 0.0),
    orientation: Sequence[float] = AXIAL,
    pixels: np.ndarray | None = None,
    shape: tuple[int, int] = (16, 16),
    spacing: tuple[float, float] = (0.5, 0.5),
    bits_stored: int = 16,
    signed: bool = True,
    intercept: float = -1024,
    slope: float = 1,
    window: Any = ("40", "80"),
    change: Mapping[str, Any] | None = None,
    drop: Iterable[str] = (),
) -> Dataset:
    """Create a CT slice with only the challenge's tags.

    Args:
        uid: SOPInstanceUID; the challenge's form ``ID_000012eaf`` is allowed.
        study: StudyInstanceUID.
        patient: PatientID.
        series: SeriesInstanceUID; by default one per study.
        position: ImagePositionPatient, mm.
        orientation: ImageOrientationPatient.
        pixels: Stored values (rows, columns) before the rescale; by default ``small_head``.
        shape: Rows and columns when no pixels are given.
        spacing: PixelSpacing (of rows, of columns), mm.
        bits_stored: 12 or 16; also sets HighBit.
        signed: PixelRepresentation.
        intercept: RescaleIntercept.
        slope: RescaleSlope.
        window: WindowCenter and WindowWidth.
        change: Values by keyword, set last.
        drop: Keywords to omit, such as ``PixelData``.
    """
    dtype = np.dtype(np.int16 if signed else np.uint16)
    if pixels is None:
        pixels = ((small_head(shape) - intercept) / slope).round()
    pixels = np.asarray(pixels).astype(dtype)
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = uid
    ds.Modality = "CT"
    ds.PatientID = patient
    ds.StudyInstanceUID = study
    ds.SeriesInstanceUID = series or f"{study}_series"
    ds.StudyID = ""
    ds.ImagePositionPatient = [f"{value:.6f}" for value in position]
    ds.ImageOrientationPatient = [f"{value:.6f}" for value in orientation]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape
    ds.PixelSpacing = [f"{value:.6f}" for value in spacing]
    ds.BitsAllocated = 16
    ds.BitsStored = bits_stored
    ds.HighBit = bits_stored - 1
    ds.PixelRepresentation = int(signed)
    ds.WindowCenter, ds.WindowWidth = (list(v) if isinstance(v, tuple) else v for v in window)
    ds.RescaleIntercept = str(intercept)
    ds.RescaleSlope = str(slope)
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW"
    for keyword, value in (change or {}).items():
        setattr(ds, keyword, value)
    for keyword in drop:
        if keyword in ds:
            delattr(ds, keyword)
    return ds


def write_dataset(
    path: Path,
    ds: Dataset,
    *,
    syntax: str = ExplicitVRLittleEndian,
    preamble: bool = True,
    pixel_bytes: int | None = None,
) -> Path:
    """Write a dataset as DICOM.

    Args:
        path: File name; folders are created.
        ds: Dataset to write.
        syntax: Transfer syntax; compressed ones are encoded by pydicom (JPEG 2000
            needs at least 32x32 pixels).
        preamble: Whether the file starts with the preamble, ``DICM`` and the file meta group.
        pixel_bytes: Truncates the file after this many bytes of pixel data (plain syntaxes).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with config.disable_value_validation():
        ds.file_meta = FileMetaDataset()
        ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        ds.file_meta.TransferSyntaxUID = syntax if syntax in PLAIN else ExplicitVRLittleEndian
        full = len(ds.PixelData) if "PixelData" in ds else 0
        if syntax == ExplicitVRBigEndian and full:
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        if syntax not in PLAIN:
            ds.compress(syntax, generate_instance_uid=False)
        if preamble:
            dcmwrite(path, ds, enforce_file_format=True)
        else:
            del ds.file_meta
            dcmwrite(path, ds, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    if pixel_bytes is not None:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) - full + pixel_bytes])
    return path


def write_slice(
    path: Path,
    *,
    syntax: str = ExplicitVRLittleEndian,
    preamble: bool = True,
    pixel_bytes: int | None = None,
    uid: str | None = None,
    **tags: Any,
) -> Path:
    """Write one slice; its SOPInstanceUID is ``uid``, by default the name of the file."""
    ds = ct_dataset(uid or path.stem, **tags)
    return write_dataset(path, ds, syntax=syntax, preamble=preamble, pixel_bytes=pixel_bytes)


def write_study(
    folder: Path,
    study: str,
    *,
    patient: str | None = None,
    z_mm: Sequence[float] = (0.0, 5.0, 10.0),
    tilt_deg: float = 0.0,
    names: Sequence[str] | None = None,
    **tags: Any,
) -> list[str]:
    """Write the slices of a study into a folder, at table positions ``z_mm``.

    The table moves along z even if the gantry is tilted, so only z of ImagePositionPatient changes.

    Returns:
        SOPInstanceUIDs in the order of ``z_mm``.
    """
    uids = list(names or [f"{study}_{i:03d}" for i in range(len(z_mm))])
    for uid, z in zip(uids, z_mm, strict=True):
        write_slice(
            folder / f"{uid}.dcm",
            study=study,
            patient=patient or f"{study}_patient",
            position=(-4.0, -4.0, z),
            orientation=tilted(tilt_deg),
            **tags,
        )
    return uids


def write_kaggle_csv(path: Path, labels: Mapping[str, Iterable[str]]) -> Path:
    """Write a label CSV in Kaggle's form.

    Args:
        path: File name; folders are created.
        labels: Positive types by SOPInstanceUID; ``any`` is derived from them.
    """
    rows = []
    for uid, positive in labels.items():
        types = set(positive)
        present = types | {"any"} if types else types
        rows += [(f"{uid}_{name}", int(name in present)) for name in CLASSES]
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows, columns=["ID", "Label"]).to_csv(path, index=False)
    return path
