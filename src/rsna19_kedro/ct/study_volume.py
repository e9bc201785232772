"""Building of an aligned and cropped volume with its record from the slices of a study."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from rsna19_kedro.contracts import ORIENTATION, POSITION
from rsna19_kedro.ct.alignment import aligned_grid, slice_shifts
from rsna19_kedro.ct.crop import assemble, centre_of_mass
from rsna19_kedro.ct.geometry import (
    StudyGeometry,
    most_common,
    study_geometry,
    valid_orientation,
)
from rsna19_kedro.ct.plausibility import check_hu

ALIGNED: Final = "aligned"
_SAME_SPACING: Final = 0.01
_EVEN_DISTANCES: Final = 0.1


@dataclass(frozen=True)
class VolumeRecord:
    """Record of a prepared volume; a row of ``volume_index``.

    Attributes:
        study_id: StudyInstanceUID.
        slices: Number of slices S.
        rows: Height in pixels of the aligned grid, before the crop.
        cols: Width in pixels of the aligned grid, before the crop.
        row_spacing_mm: Distance of rows; NaN if unknown.
        col_spacing_mm: Distance of columns; NaN if unknown.
        slice_distance_mm: Median distance of neighbouring slices along their normal.
        distances_uneven: Whether a distance differs from the median by more than a tenth.
        tilt_deg: Gantry tilt; NaN without an axial geometry.
        crop_row: Row of the aligned grid at the centre of the crop.
        crop_col: Column of the aligned grid at the centre of the crop.
        alignment: ``aligned``, or ``plain stack:`` and the reason.
        row_shifts_px: (S,) shift of each slice across the rows, relative to the middle slice.
        col_shifts_px: (S,) shift of each slice across the columns.
        repaired: Numbers of the slices that were replaced by a neighbour.
        repairs: Reason for each repair, one text per repaired slice.
        implausible: Numbers of the slices whose values cannot be HU, see ``check_hu``.
        slice_checksums: (S,) checksum of each file's decoded pixels; empty for a repaired slice.
        checksum: Checksum of all voxels of the volume.
        files_sha256: SHA-256 of the concatenated content of its files; empty if unknown.
    """

    study_id: str
    slices: int
    rows: int
    cols: int
    row_spacing_mm: float
    col_spacing_mm: float
    slice_distance_mm: float
    distances_uneven: bool
    tilt_deg: float
    crop_row: int
    crop_col: int
    alignment: str
    row_shifts_px: list[float]
    col_shifts_px: list[float]
    repaired: list[int]
    repairs: list[str]
    implausible: list[int]
    slice_checksums: list[str]
    checksum: str
    files_sha256: str = ""


@dataclass(frozen=True)
class StudyFrame:
    """Alignment of the slices of a study.

    Attributes:
        alignment: See ``VolumeRecord``.
        shifts: (S, 2) rows and columns, see ``slice_shifts``; zeros for a plain stack.
        row_spacing_mm: Common distance of rows; NaN if unknown.
        col_spacing_mm: Common distance of columns; NaN if unknown.
        zoom: (S, 2) spacing of each slice divided by the common one; 1 if unknown.
        tilt_deg: See ``VolumeRecord``.
        position_mm: (S,) positions along the normal; NaN without a geometry.
    """

    alignment: str
    shifts: NDArray[np.float64]
    row_spacing_mm: float
    col_spacing_mm: float
    zoom: NDArray[np.float64]
    tilt_deg: float
    position_mm: NDArray[np.float64]


def study_frame(slices: pd.DataFrame) -> StudyFrame:
    """Compute the alignment of a study's slices from their geometry.

    Args:
        slices: Rows of ``slice_index`` of one study, by ``slice_num``.

    Returns:
        The frame; a plain stack if positions, orientations or spacing are missing, or if the
        slices are not axial or not parallel (such studies are not aligned).
    """
    spacing = slices[["row_spacing_mm", "col_spacing_mm"]].to_numpy(dtype=float)
    known = np.isfinite(spacing).all(axis=1) & (spacing > 0).all(axis=1)
    common = most_common(spacing[known]) if known.any() else np.full(2, np.nan)
    row_mm, col_mm = float(common[0]), float(common[1])
    zoom = np.where(known[:, None], spacing / common, 1.0)
    zoom[np.abs(zoom - 1) < _SAME_SPACING] = 1.0
    geometry, reason = _geometry(slices, bool(known.all()))
    if geometry is None:
        alignment, tilt, shifts = f"plain stack: {reason}", float("nan"), np.zeros((len(slices), 2))
        position = slices["position_mm"].to_numpy(dtype=float)
    else:
        alignment, tilt, position = ALIGNED, geometry.tilt_deg, geometry.position_mm
        shifts = slice_shifts(geometry.row_offset_mm, geometry.col_offset_mm, row_mm, col_mm)
    return StudyFrame(alignment, shifts, row_mm, col_mm, zoom, tilt, position)


def build_volume(
    slices: pd.DataFrame,
    decoded: Sequence[np.ndarray | None],
    repairs: Mapping[int, str],
    crop_size_px: int,
) -> tuple[np.ndarray, VolumeRecord]:
    """Align and crop the decoded slices of a study.

    Slices of different sizes are placed by their position like all others; slices of a different
    pixel spacing are first resampled to the study's most common one.

    Args:
        slices: Rows of ``slice_index`` of one study, sorted by ``slice_num``, from 0.
        decoded: (H, W) int16 HU of each slice; ``None`` is replaced by the nearest decoded slice.
        repairs: Reason for each ``None``, by ``slice_num``.
        crop_size_px: Side of the square crop around the centre of mass.

    Returns:
        Volume (S, crop_size_px, crop_size_px) int16 HU, at least -1024 in measured pixels and
        ``PADDING_HU`` in padding; and its record.

    Raises:
        SourceError: The values of most slices cannot be HU.
    """
    study_id = str(slices["study_id"].iloc[0])
    implausible = check_hu(decoded)
    frame = study_frame(slices)
    checksums = ["" if hu is None else checksum(hu) for hu in decoded]
    decoded = [
        hu if hu is None or (zoom == 1).all() else resample_slice(hu, zoom)
        for hu, zoom in zip(decoded, frame.zoom, strict=True)
    ]
    sizes = [(0, 0) if hu is None else (hu.shape[0], hu.shape[1]) for hu in decoded]
    grid = aligned_grid(frame.shifts, _fill_sizes(sizes))
    centre = centre_of_mass(decoded, grid)
    volume = assemble(decoded, grid, centre, crop_size_px)
    distances = np.diff(frame.position_mm)
    median = float(np.median(distances)) if len(distances) else float("nan")
    record = VolumeRecord(
        study_id=study_id,
        slices=len(volume),
        rows=grid.rows,
        cols=grid.cols,
        row_spacing_mm=frame.row_spacing_mm,
        col_spacing_mm=frame.col_spacing_mm,
        slice_distance_mm=median,
        distances_uneven=bool((np.abs(distances - median) > _EVEN_DISTANCES * abs(median)).any()),
        tilt_deg=frame.tilt_deg,
        crop_row=centre[0],
        crop_col=centre[1],
        alignment=frame.alignment,
        row_shifts_px=[float(shift) for shift in frame.shifts[:, 0]],
        col_shifts_px=[float(shift) for shift in frame.shifts[:, 1]],
        repaired=sorted(repairs),
        repairs=[repairs[number] for number in sorted(repairs)],
        implausible=implausible,
        slice_checksums=checksums,
        checksum=checksum(volume),
    )
    return volume, record


def resample_slice(hu: np.ndarray, zoom: NDArray[np.float64], order: int = 1) -> np.ndarray:
    """Resample a slice to another pixel spacing; the centre of its first pixel is unchanged.

    Args:
        hu: (H, W) int16 HU.
        zoom: Spacing of the slice divided by the new one, for rows and columns.
        order: 1 for linear interpolation, 0 for the nearest neighbour (for labels).

    Returns:
        int16, large enough to contain all pixel centres of the slice.
    """
    size = [
        max(int(np.floor((n - 1) * z + 1e-6)) + 1, 1) for n, z in zip(hu.shape, zoom, strict=True)
    ]
    moved = ndimage.affine_transform(
        hu.astype(np.float32), 1.0 / zoom, output_shape=size, order=order, mode="nearest"
    )
    return np.asarray(np.rint(moved), dtype=np.int16)


def checksum(pixels: np.ndarray) -> str:
    """Return 80 bits of the SHA-1 of the pixels in HU, as 20 hexadecimal digits.

    Equal pixels have equal checksums, which reveals a slice that two patients share; 80 bits are
    enough to avoid collisions among a million slices.
    """
    digest = hashlib.sha1(np.ascontiguousarray(pixels).data, usedforsecurity=False)
    return digest.hexdigest()[:20]


def _fill_sizes(sizes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    known = np.array([size for size in sizes if size != (0, 0)])
    rows, cols = most_common(known)
    return [(int(rows), int(cols)) if size == (0, 0) else size for size in sizes]


def _geometry(slices: pd.DataFrame, spacing_known: bool) -> tuple[StudyGeometry | None, str]:
    position = slices[POSITION].to_numpy(dtype=float)
    orientation = slices[ORIENTATION].to_numpy(dtype=float)
    if not np.isfinite(position).all():
        return None, "ImagePositionPatient is missing"
    if not valid_orientation(orientation).all():
        return None, "ImageOrientationPatient is missing or invalid"
    if not spacing_known:
        return None, "PixelSpacing is missing"
    geometry = study_geometry(position, orientation)
    if not geometry.axial:
        return None, "the slices are not axial"
    if not geometry.parallel:
        return None, "the slices are not parallel"
    return geometry, ""
