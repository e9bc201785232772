"""The images that DICOM results refer to: headers, and the mapping of heatmaps to images."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pydicom
from numpy.typing import NDArray
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.uid import UID, CTImageStorage, generate_uid
from scipy import ndimage

from rsna19_kedro.ct.turning import TRANSPOSED, turn_back
from rsna19_kedro.dicom.phi import (
    IMAGE_ATTRIBUTES,
    RESULT_ATTRIBUTES,
    readable_header,
    text_of,
)
from rsna19_kedro.errors import SourceError, counted

_REFERENCED_UID: Final = pydicom.tag.Tag("ReferencedSOPInstanceUID")
_UIDS: Final = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")


@dataclass(frozen=True)
class HeatPlace:
    """Mapping of the prepared slices to the images that they were made from.

    Attributes:
        first_px: ``(S, 2)`` row and column in the prepared slice of each image's first pixel;
            usually fractional and often negative.
        side_px: Side of the prepared slices.
        turns: ``(S,)`` how each image was turned before; see ``turning.turns_of``.
    """

    first_px: NDArray[np.float64]
    side_px: int
    turns: tuple[int, ...]

    @classmethod
    def from_record(cls, record: Mapping[str, Any], side_px: int) -> "HeatPlace":
        """Compute the mapping from the record of a prepared volume.

        Args:
            record: ``row_shifts_px``, ``col_shifts_px``, ``crop_row`` and ``crop_col`` as in
                ``VolumeRecord``; ``turns``, optional if no image was turned.
            side_px: Side of the prepared slices.
        """
        shifts = np.stack([record["row_shifts_px"], record["col_shifts_px"]], axis=1)
        first_of_grid = np.floor(shifts + 0.5).min(axis=0)
        corner = np.array([record["crop_row"], record["crop_col"]]) - side_px // 2
        turns = record.get("turns", [0] * len(shifts))
        return cls(shifts - first_of_grid - corner, side_px, tuple(turns))

    def on_image(self, heat: np.ndarray, number: int, rows: int, cols: int) -> np.ndarray:
        """Resample the maps of a slice to its image by linear interpolation.

        Args:
            heat: ``(C, h, h)`` maps of the prepared slice.
            number: Slice number.
            rows: Height of the image.
            cols: Width of the image.

        Returns:
            ``(C, rows, cols)`` float32; 0 outside the prepared slice.
        """
        turn = self.turns[number]
        rows, cols = (cols, rows) if turn & TRANSPOSED else (rows, cols)
        cell = self.side_px / heat.shape[-1]
        # The centre of image pixel r lies at first + r in the slice, and therefore at
        # (first + r + 1/2) / cell - 1/2 in the map.
        offset = (self.first_px[number] + 0.5) / cell - 0.5
        on_turned = np.stack(
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
        return turn_back(on_turned, turn)


@dataclass(frozen=True)
class ResultSources:
    """The images that a study's results refer to.

    Attributes:
        headers: One per image, from feet to head, with the attributes that results copy.
        left_out: Keywords of attributes left out because of invalid values.
    """

    headers: list[Dataset]
    left_out: list[str]


@config.disable_value_validation()
def result_sources(root: Path, files: pd.DataFrame, *, include_phi: bool) -> ResultSources:
    """Read the headers that a study's results refer to, and check that the files are unchanged.

    Invalid UIDs (Kaggle's ``ID_...``) are replaced by UIDs derived from them, reproducibly.

    Args:
        root: Folder that ``path`` is relative to.
        files: Rows of ``NewStudies.files``: the images of one series from feet to head; ``sha256``
            is the digest of each file when it was predicted, see ``file_digest``.
        include_phi: Whether results include the patient data of the headers.

    Raises:
        SourceError: A file has changed since the prediction; or results cannot refer to the
            images because they are of several patients or studies, share SOPInstanceUIDs, have
            several sizes or spacings, or have no position.
    """
    if files["frame"].notna().any():
        raise SourceError("no DICOM results: enhanced (multi-frame) CT is not supported yet")
    images = zip(files["path"], files["sha256"], strict=True)
    read = [_read(root / path, digest) for path, digest in images]
    whole = [header for header, _ in read]
    for name, what in (("PatientID", "patients"), ("StudyInstanceUID", "studies")):
        values = {text_of(header, name) for header in whole}
        if len(values) > 1:
            raise SourceError(f"no DICOM results: its images belong to {len(values)} {what}")
    uids = {text_of(header, "SOPInstanceUID") for header in whole}
    if len(uids) < len(whole):
        raise SourceError(
            f"no DICOM results: its {len(whole)} images have "
            f"{counted(len(uids), 'SOPInstanceUID')}, so references to them would be ambiguous"
        )
    kinds = {
        (header.get("Rows"), header.get("Columns"), str(header.get("PixelSpacing")))
        for header in whole
    }
    if len(kinds) > 1:
        raise SourceError(
            f"no DICOM results: its images have {len(kinds)} different sizes or spacings, and "
            "a DICOM segmentation allows only one"
        )
    lacking = [
        name
        for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
        if any(name not in header for header in whole)
    ]
    if lacking:
        raise SourceError(f"no DICOM results: its images lack {', '.join(lacking)}")
    positions = np.array([header.ImagePositionPatient for header in whole], dtype=float)
    gaps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    distance_mm = float(np.median(gaps)) if len(gaps) else 1.0
    headers = [_source(header, distance_mm, include_phi) for header in whole]
    taken = set(IMAGE_ATTRIBUTES) | (set(RESULT_ATTRIBUTES) if include_phi else set())
    left_out = sorted({name for _, lost in read for name in lost} & taken)
    return ResultSources(headers, left_out)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_refers(made: Dataset, sources: Sequence[Dataset]) -> None:
    """Check before writing that a result refers to the images that were predicted.

    Args:
        made: A structured report or segmentation.
        sources: Headers of the images.

    Raises:
        SourceError: The result names another patient or study, or refers to another image.
    """
    for name in ("PatientID", "StudyInstanceUID"):
        wanted = {text_of(header, name) for header in sources}
        if wanted != {text_of(made, name)}:
            raise SourceError(f"no DICOM results: their {name} differs from that of the images")
    known = {str(header.SOPInstanceUID) for header in sources}
    referred = {str(element.value) for element in made.iterall() if element.tag == _REFERENCED_UID}
    if not referred or not referred <= known:
        raise SourceError("no DICOM results: they would refer to images that were not predicted")


def _read(path: Path, digest: str) -> tuple[Dataset, list[str]]:
    if file_digest(path) != digest:
        raise SourceError(
            "no DICOM results: a file has changed since the prediction. Run the prediction again"
        )
    return readable_header(pydicom.dcmread(path, stop_before_pixels=True, force=True))


def _source(header: Dataset, distance_mm: float, include_phi: bool) -> Dataset:
    if include_phi:
        made = Dataset()
        made.update({element.tag: element for element in header})
    else:
        made = Dataset()
        for name in IMAGE_ATTRIBUTES:
            if name in header:
                made[name] = header[name]
    for name in RESULT_ATTRIBUTES:
        made.setdefault(name, "")
    made.SpecificCharacterSet = header.SpecificCharacterSet
    made.setdefault("SOPClassUID", CTImageStorage)
    made.setdefault("Modality", "CT")
    # Images without a frame of reference are assumed to share one: they are of one series.
    for name, prefix in (("SeriesInstanceUID", "series of "), ("FrameOfReferenceUID", "frame ")):
        if not made.get(name):
            setattr(made, name, f"{prefix}{made.StudyInstanceUID}")
    if not made.get("SliceThickness"):  # A segmentation requires it; Kaggle's images lack it.
        made.SliceThickness = f"{distance_mm:.4f}"
    for name in _UIDS:
        text = str(made[name].value)
        if not UID(text).is_valid:
            setattr(made, name, generate_uid(entropy_srcs=[text]))
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    return made
