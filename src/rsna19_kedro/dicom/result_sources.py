"""The images that DICOM results refer to: their headers, and where heatmaps lie on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage, generate_uid
from scipy import ndimage

from rsna19_kedro.errors import SourceError

_OF_IMAGES: Final = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("FrameOfReferenceUID", "Modality", "Rows", "Columns", "PixelSpacing", "SliceThickness"),
    *("SpacingBetweenSlices", "ImagePositionPatient", "ImageOrientationPatient"),
    *("InstanceNumber", "PositionReferenceIndicator"),
)
"""Attributes that say nothing of the person; all others are left out unless wanted."""

_OF_PATIENT: Final = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *("AccessionNumber", "StudyID", "ReferringPhysicianName"),
)
"""Attributes that results must have, if only empty (type 2)."""

_UIDS: Final = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")


@dataclass(frozen=True)
class HeatPlace:
    """Where a map over the prepared slices lies on the images that they were made from.

    Attributes:
        first_px: ``(S, 2)`` row and column of the prepared slice at which each image's first
            pixel lies; fractions and negative numbers are usual.
        side_px: Side of the prepared slices.
    """

    first_px: NDArray[np.float64]
    side_px: int

    @classmethod
    def from_record(cls, record: Mapping[str, Any], side_px: int) -> "HeatPlace":
        """Work it out from the record of a prepared volume.

        Args:
            record: ``row_shifts_px``, ``col_shifts_px``, ``crop_row`` and ``crop_col`` as in
                ``VolumeRecord``.
            side_px: Side of the prepared slices.
        """
        shifts = np.stack([record["row_shifts_px"], record["col_shifts_px"]], axis=1)
        first_of_grid = np.floor(shifts + 0.5).min(axis=0)
        corner = np.array([record["crop_row"], record["crop_col"]]) - side_px // 2
        return cls(shifts - first_of_grid - corner, side_px)

    def on_image(self, heat: np.ndarray, number: int, rows: int, cols: int) -> np.ndarray:
        """Resample the maps of a slice to its image, linearly.

        Args:
            heat: ``(C, h, h)`` over the prepared slice.
            number: The slice.
            rows: Height of the image.
            cols: Width of the image.

        Returns:
            ``(C, rows, cols)`` float32; 0 beyond the prepared slice.
        """
        cell = self.side_px / heat.shape[-1]
        # Centre of image pixel r lies at first + r of the slice, so at (first + r + 1/2) / cell
        # - 1/2 of the map.
        offset = (self.first_px[number] + 0.5) / cell - 0.5
        return np.stack(
            [
                ndimage.affine_transform(
                    np.asarray(plane, dtype=np.float32),
                    np.full(2, 1.0 / cell),
                    offset,
                    output_shape=(rows, cols),
                    order=1,
                    mode="constant",
                )
                for plane in heat
            ]
        )


@config.disable_value_validation()
def result_sources(root: Path, paths: Sequence[str], *, include_phi: bool) -> list[Dataset]:
    """Read the headers that a study's results refer to.

    UIDs that are none (Kaggle's ``ID_...``) become UIDs derived from them, the same each time.

    Args:
        root: Folder that ``paths`` are relative to.
        paths: Files of one series, feet to head.
        include_phi: Whether results carry over what the headers say of the patient.

    Raises:
        SourceError: The images differ in size or spacing, or lack their position, so that no
            segmentation can refer to them.
    """
    headers = [pydicom.dcmread(root / path, stop_before_pixels=True, force=True) for path in paths]
    kinds = {
        (header.get("Rows"), header.get("Columns"), str(header.get("PixelSpacing")))
        for header in headers
    }
    if len(kinds) > 1:
        raise SourceError(
            f"no DICOM results: its images have {len(kinds)} different sizes or spacings, and "
            "a DICOM segmentation refers to one"
        )
    lacking = [
        name
        for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
        if any(name not in header for header in headers)
    ]
    if lacking:
        raise SourceError(f"no DICOM results: its images lack {', '.join(lacking)}")
    positions = np.array([header.ImagePositionPatient for header in headers], dtype=float)
    gaps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    distance_mm = float(np.median(gaps)) if len(gaps) else 1.0
    return [_source(header, distance_mm, include_phi) for header in headers]


def _source(header: Dataset, distance_mm: float, include_phi: bool) -> Dataset:
    found = Dataset()
    if include_phi:
        found.update({e.tag: e for e in header if not e.tag.is_private and e.VR != "SQ"})
    for name in _OF_IMAGES:
        if name in header:
            found[name] = header[name]
    for name in _OF_PATIENT:
        found.setdefault(name, "")
    found.setdefault("SOPClassUID", CTImageStorage)
    found.setdefault("Modality", "CT")
    # Positions without a frame of reference are taken to share one: they are of one series.
    for name, instead in (("SeriesInstanceUID", "series of "), ("FrameOfReferenceUID", "frame ")):
        if not found.get(name):
            setattr(found, name, f"{instead}{found.StudyInstanceUID}")
    if not found.get("SliceThickness"):  # A segmentation must state one; Kaggle's images do not.
        found.SliceThickness = f"{distance_mm:.4f}"
    for name in _UIDS:
        text = str(found[name].value)
        if not UID(text).is_valid:
            setattr(found, name, generate_uid(entropy_srcs=[text]))
    found.file_meta = pydicom.dataset.FileMetaDataset()
    found.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    return found
