"""Reading of a head in HU from NIfTI, prepared like a DICOM study."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nibabel
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsna19_kedro.contracts import ORIENTATION, POSITION
from rsna19_kedro.ct.plausibility import check_head
from rsna19_kedro.ct.study_volume import ALIGNED, VolumeRecord, build_volume
from rsna19_kedro.errors import DamagedFileError, SourceError

_RAS_TO_LPS: Final = np.diag([-1.0, -1.0, 1.0])
_MOST_UNEQUAL: Final = 2.0
"""If the in-plane pixel spacings differ by a larger ratio, the slices are not axial."""
_SQUARE: Final = 0.01


@dataclass(frozen=True)
class NiftiHead:
    """A prepared head.

    Attributes:
        volume: ``(S, size_px, size_px)`` int16 from feet to head; rows from front to back,
            columns from the patient's right to left.
        record: See ``VolumeRecord``.
        remarks: Remarks for the user.
        native: ``(S, H, W)`` int16, oriented like ``volume``, neither aligned nor cropped.
    """

    volume: np.ndarray
    record: VolumeRecord
    remarks: list[str]
    native: np.ndarray


def read_nifti(path: Path, size_px: int) -> NiftiHead:
    """Read a head in HU from NIfTI, aligned and cropped like a prepared study.

    Args:
        path: A 3D file with HU and an affine; its axes may have any direction, and its slices
            may be sheared, as by a tilted gantry.
        size_px: Side of the crop, in pixels.

    Raises:
        DamagedFileError: The file cannot be read as NIfTI.
        SourceError: The file is not 3D, not axial, or not a head in HU.
    """
    values, affine, remarks = _load(path)
    if values.ndim != 3:
        raise SourceError(f"{path} has {values.ndim} axes; expected three (a head in HU).")
    if not np.isfinite(values).all():
        raise SourceError(f"{path} contains values that are not finite. Convert it to HU first.")
    # Canonical axes point to the patient's right, front and head; DICOM's to left and back.
    affine = affine @ np.diag([-1.0, -1.0, 1.0, 1.0])
    affine[:3, 3] -= affine[:3, :2] @ (np.array(values.shape[:2]) - 1.0)
    hu = values.transpose(2, 1, 0)[:, ::-1, ::-1]
    try:
        slices = _slices(_RAS_TO_LPS @ affine[:3], hu.shape)
        limits = np.iinfo(np.int16)
        stored = np.clip(hu, limits.min, limits.max).astype(np.int16)
        volume, record = build_volume(slices, list(stored), {}, size_px)
        remarks += check_head(volume, (record.row_spacing_mm, record.col_spacing_mm))
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from error
    if record.alignment != ALIGNED:
        remarks.append(f"not aligned ({record.alignment})")
    if abs(record.tilt_deg) > 1:
        remarks.append(
            f"its affine is sheared: aligned as for a gantry tilt of {record.tilt_deg:.0f} degrees"
        )
    return NiftiHead(volume, record, remarks, stored)


def _load(path: Path) -> tuple[np.ndarray, NDArray[np.float64], list[str]]:
    """Return the values with canonical axes, their affine (to RAS+), and remarks."""
    try:
        image: Any = nibabel.load(path)
        if len(image.shape) > 3 and set(image.shape[3:]) == {1}:
            image = image.slicer[(..., *[0] * (len(image.shape) - 3))]
        codes = [int(image.header[name]) for name in ("qform_code", "sform_code")]
        image = nibabel.as_closest_canonical(image) if len(image.shape) == 3 else image
        values = np.asarray(image.get_fdata(dtype=np.float32))
    except Exception as error:  # A damaged file makes nibabel raise many exception types.
        raise DamagedFileError(f"{path} cannot be read as NIfTI: {error}") from error
    remarks = []
    if not any(codes):
        remarks.append(
            "its header does not define its orientation (both orientation codes are 0): left and "
            "right, front and back, head and feet are assumed. Check the image before using the "
            "result"
        )
    return values, np.array(image.affine, dtype=np.float64), remarks


def _slices(affine: NDArray[np.float64], shape: tuple[int, ...]) -> pd.DataFrame:
    """Return the geometry of the slices in the form of a DICOM study.

    Args:
        affine: (3, 4) from (column, row, slice) to LPS in mm.
        shape: Number of slices, rows and columns.

    Raises:
        SourceError: The slices are not axial, or rows and columns are not perpendicular.
    """
    spacing = np.linalg.norm(affine[:, :3], axis=0)
    if spacing.min() <= 0 or spacing[:2].max() / spacing[:2].min() > _MOST_UNEQUAL:
        raise SourceError(
            f"pixels of {spacing[1]:.2f} x {spacing[0]:.2f} mm in its axial plane: its slices are "
            "not axial. Use the axial series."
        )
    across, down = affine[:, 0] / spacing[0], affine[:, 1] / spacing[1]
    if abs(across @ down) > _SQUARE:
        raise SourceError(
            "its rows and columns are not perpendicular (a sheared affine). Resample it first."
        )
    table = pd.DataFrame({"study_id": "nifti", "slice_num": np.arange(shape[0])})
    table["row_spacing_mm"], table["col_spacing_mm"] = spacing[1], spacing[0]
    table[POSITION] = affine[:, 3] + np.arange(shape[0])[:, None] * affine[:, 2]
    table[ORIENTATION] = np.tile(np.concatenate([across, down]), (shape[0], 1))
    return table
