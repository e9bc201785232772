"""Writing of a phantom as DICOM files like those of the challenge, and of its mask as NIfTI."""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import nibabel
import numpy as np
from numpy.typing import NDArray
from pydicom import config, dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from rsna19_kedro.contracts import PADDING_HU
from rsna19_kedro.dicom.quiet import quiet_pydicom
from rsna19_kedro.files import atomic_path
from rsna19_kedro.phantoms.fields import Floats
from rsna19_kedro.phantoms.scan import Scan

Pixels = Literal["signed", "unsigned", "wrapped"]
PIXELS: Final[tuple[Pixels, ...]] = ("signed", "unsigned", "wrapped")

_INTERCEPT: Final = {"signed": -1024, "unsigned": -1024, "wrapped": 0}


@dataclass(frozen=True)
class StudyHeader:
    """Attributes that the slices of a study share besides their geometry.

    Attributes:
        study_id: StudyInstanceUID.
        series_id: SeriesInstanceUID.
        patient_id: PatientID.
        pixels: ``signed`` 16 bit with padding -2000, ``unsigned`` 12 bit, or ``wrapped`` 12
            bit (intercept 0, negative values stored modulo 4096).
        implicit_vr: Whether the transfer syntax is implicit instead of explicit VR little endian.
        two_windows: Whether WindowCenter and WindowWidth have two values.
    """

    study_id: str
    series_id: str
    patient_id: str
    pixels: Pixels
    implicit_vr: bool
    two_windows: bool


def stored_values(hu: Floats, pixels: Pixels) -> NDArray[np.int16] | NDArray[np.uint16]:
    """Convert HU to pixel values as stored by a scanner.

    Args:
        hu: (H, W) HU, ``PADDING_HU`` outside the scanner's field of view.
        pixels: Kind of storage, see ``StudyHeader``.

    Returns:
        (H, W) int16 or uint16. Padding is stored as -2000 (signed), 0 (unsigned) or air
        (wrapped, which cannot represent padding).
    """
    outside = hu <= PADDING_HU
    whole = np.rint(hu).astype(np.int32)
    if pixels == "signed":
        return np.where(outside, -2000, np.clip(whole, -1024, 3071) + 1024).astype(np.int16)
    if pixels == "unsigned":
        return np.where(outside, 0, np.clip(whole, -1024, 3071) + 1024).astype(np.uint16)
    return (np.clip(whole, -1000, 3000) % 4096).astype(np.uint16)


def write_slices(folder: Path, scan: Scan, header: StudyHeader, uids: Sequence[str]) -> None:
    """Write one file per slice, named after its SOPInstanceUID.

    Args:
        folder: Existing output folder.
        scan: The study.
        header: Attributes that the slices share.
        uids: SOPInstanceUIDs in the order of the slices.
    """
    quiet_pydicom()
    positions = scan.acquisition.positions()
    with config.disable_value_validation():  # The challenge's UIDs are not valid DICOM UIDs.
        for uid, hu, position in zip(uids, scan.hu, positions, strict=True):
            ds = _dataset(uid, stored_values(hu, header.pixels), header)
            ds.ImagePositionPatient = [f"{value:.6f}" for value in position]
            ds.ImageOrientationPatient = [f"{v:.6f}" for v in scan.acquisition.orientation]
            ds.PixelSpacing = [f"{scan.acquisition.pixel_spacing_mm:.6f}"] * 2
            # An atomic write is not needed: an interrupted run writes the same names again.
            dcmwrite(folder / f"{uid}.dcm", ds, enforce_file_format=True)


def _dataset(
    uid: str, values: NDArray[np.int16] | NDArray[np.uint16], header: StudyHeader
) -> Dataset:
    """Return the challenge's 21 tags except the geometry (docs/reference.md#data)."""
    bits = 16 if header.pixels == "signed" else 12
    values_of = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": uid,
        "Modality": "CT",
        "PatientID": header.patient_id,
        "StudyInstanceUID": header.study_id,
        "SeriesInstanceUID": header.series_id,
        "StudyID": "",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": values.shape[0],
        "Columns": values.shape[1],
        "BitsAllocated": 16,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(header.pixels == "signed"),
        "WindowCenter": ["00040", "00040"] if header.two_windows else "40",
        "WindowWidth": ["00080", "00080"] if header.two_windows else "80",
        "RescaleIntercept": str(_INTERCEPT[header.pixels]),
        "RescaleSlope": "1",
    }
    ds = Dataset()
    for keyword, value in values_of.items():
        setattr(ds, keyword, value)
    ds.add_new("PixelData", "OW", values.astype(values.dtype.newbyteorder("<")).tobytes())
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = UID(f"2.25.{int(uid.removeprefix('ID_'), 16)}")
    ds.file_meta.TransferSyntaxUID = (
        ImplicitVRLittleEndian if header.implicit_vr else ExplicitVRLittleEndian
    )
    return ds


def write_mask(path: Path, scan: Scan, *, feet_last: bool = False) -> None:
    """Write the mask as NIfTI.

    Args:
        path: ``<study_id>.nii.gz``.
        scan: An evenly spaced study.
        feet_last: Whether the k axis runs from head to feet.

    Raises:
        ValueError: Slice distances are not even.
    """
    volume = scan.mask.transpose(2, 1, 0)  # Voxel axes: column, row, slice.
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ scan.affine()  # LPS to NIfTI's RAS+.
    if feet_last:
        affine = affine.copy()
        affine[:, 3] += affine[:, 2] * (volume.shape[2] - 1)
        affine[:, 2] *= -1
        volume = volume[:, :, ::-1]
    image = nibabel.Nifti1Image(np.ascontiguousarray(volume), affine)
    image.header.set_xyzt_units("mm")
    with atomic_path(path) as part:  # No time stamp, so that equal masks give equal bytes.
        part.write_bytes(gzip.compress(image.to_bytes(), compresslevel=6, mtime=0))
