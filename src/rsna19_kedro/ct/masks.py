"""Segmentation masks in NIfTI, matched to the slices of a study and aligned like them.

NIfTI coordinates are RAS+ (x to the right, y to the front), DICOM coordinates LPS, so x and y
change sign. Mask values 1..5 are the five types in the order of the classes, 6 is unclassified
blood (docs/reference.md#dataset-files).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nibabel
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsna19_kedro.contracts import CLASSES, ORIENTATION, POSITION
from rsna19_kedro.ct.alignment import aligned_grid, place_labels
from rsna19_kedro.ct.crop import crop_corner
from rsna19_kedro.ct.geometry import StudyGeometry, study_geometry
from rsna19_kedro.ct.study_volume import ALIGNED, resample_slice, study_frame
from rsna19_kedro.errors import DamagedFileError, SourceError

TYPES: Final = CLASSES[:-1]
UNCLASSIFIED: Final = 6

_RAS_TO_LPS: Final = np.diag([-1.0, -1.0, 1.0])
_PARALLEL: Final = 0.05
"""Largest sine of the angle between a mask and its slices."""


@dataclass(frozen=True)
class StudyMask:
    """Mask of each slice of a study, on the pixel grid of the slice.

    Attributes:
        slices: (H, W) uint8 each, values 0..6; ``None`` for a slice that the mask does not cover.
        lost_voxels: Labelled voxels on planes of the mask without a slice of the study.
    """

    slices: list[np.ndarray | None]
    lost_voxels: int


def read_mask(path: Path, slices: pd.DataFrame) -> StudyMask:
    """Read a mask and match its planes to the slices by position, not by number.

    If mask and study have equally many slices and the same ends, but the slice distances are
    uneven (which a NIfTI grid cannot represent), planes and slices are matched in order. The
    affine gives the directions of the axes in the plane. A mask of the slice's size is used pixel
    by pixel; other sizes are resampled by the nearest neighbour.

    Args:
        path: NIfTI file, planes along its third axis.
        slices: Rows of ``slice_index`` of one study, by ``slice_num``.

    Returns:
        The mask on the pixel grids of the slices.

    Raises:
        DamagedFileError: The file cannot be read, is not 3D or contains other values.
        SourceError: The planes are not parallel to the slices, or the study has no geometry.
    """
    labels, affine = _load(path)
    alignment = study_frame(slices).alignment
    if alignment != ALIGNED:
        raise SourceError(
            f"The mask {path} cannot be matched: study {slices['study_id'].iloc[0]} has no usable "
            f"geometry ({alignment})."
        )
    geometry = study_geometry(
        slices[POSITION].to_numpy(dtype=float), slices[ORIENTATION].to_numpy(dtype=float)
    )
    labels, affine = _along_slices(labels, affine, geometry, path)
    planes = (affine[:3, 3] + np.arange(labels.shape[0])[:, None] * affine[:3, 2]) @ geometry.normal
    plane_of_slice = match_planes(planes, geometry.position_mm)
    sampled: list[np.ndarray | None] = []
    for number, plane in enumerate(plane_of_slice):
        if plane < 0:
            sampled.append(None)
            continue
        row = slices.iloc[number]
        origin = affine[:3, 3] + plane * affine[:3, 2]
        rows = _lookup(
            (int(row["rows"]), labels.shape[1]),
            (geometry.col_offset_mm[number], float(row["row_spacing_mm"])),
            (origin @ geometry.col_direction, affine[:3, 1] @ geometry.col_direction),
        )
        cols = _lookup(
            (int(row["columns"]), labels.shape[2]),
            (geometry.row_offset_mm[number], float(row["col_spacing_mm"])),
            (origin @ geometry.row_direction, affine[:3, 0] @ geometry.row_direction),
        )
        values = labels[plane][np.ix_(rows, cols)]
        values[rows < 0] = 0
        values[:, cols < 0] = 0
        sampled.append(values)
    used = np.unique(plane_of_slice[plane_of_slice >= 0])
    lost = int(np.count_nonzero(labels)) - int(np.count_nonzero(labels[used]))
    return StudyMask(sampled, lost)


def match_planes(planes_mm: NDArray[np.float64], slices_mm: NDArray[np.float64]) -> np.ndarray:
    """Find the plane of a mask for each slice.

    Args:
        planes_mm: (K,) positions of the mask's planes along the normal, evenly spaced.
        slices_mm: (S,) positions of the slices, ascending.

    Returns:
        (S,) plane numbers; -1 for a slice more than half a plane distance from all planes.
    """
    distance = np.abs(planes_mm[None, :] - slices_mm[:, None])
    nearest = distance.argmin(axis=1)
    step = abs(planes_mm[-1] - planes_mm[0]) / max(len(planes_mm) - 1, 1)
    if step == 0:  # A mask of one plane: use the distance of the slices.
        step = float(np.median(np.diff(slices_mm))) if len(slices_mm) > 1 else np.inf
    if len(planes_mm) == len(slices_mm) and len(np.unique(nearest)) < len(nearest):
        order = np.argsort(planes_mm, kind="stable")
        ends = np.abs(planes_mm[order] - slices_mm)[[0, -1]]
        if (ends <= step / 2).all():
            return order
    is_close = distance[np.arange(len(nearest)), nearest] <= step / 2 + 1e-3
    return np.where(is_close, nearest, -1)


def align_mask(
    mask: StudyMask, slices: pd.DataFrame, record: pd.Series, crop_size_px: int
) -> np.ndarray:
    """Align and crop a mask like its volume, by the nearest neighbour.

    Args:
        mask: Mask of a study.
        slices: Rows of ``slice_index`` of that study, sorted by ``slice_num``.
        record: Row of ``volume_index`` of that study.
        crop_size_px: Side of the volume's slices.

    Returns:
        (S, crop_size_px, crop_size_px) int16, values 0..6; -1 on slices without a mask.
    """
    shifts = np.stack([record["row_shifts_px"], record["col_shifts_px"]], axis=1)
    zoom = study_frame(slices).zoom
    moved = [
        labels if labels is None or (z == 1).all() else resample_slice(labels, z, order=0)
        for labels, z in zip(mask.slices, zoom, strict=True)
    ]
    grid = aligned_grid(shifts, [(1, 1) if labels is None else labels.shape for labels in moved])
    corner = crop_corner((int(record["crop_row"]), int(record["crop_col"])), crop_size_px)
    volume = np.zeros((len(moved), crop_size_px, crop_size_px), dtype=np.int16)
    for number, labels in enumerate(moved):
        if labels is None:
            volume[number] = -1
        else:
            place_labels(labels, grid.placements[number], volume[number], corner)
    return volume


def _load(path: Path) -> tuple[np.ndarray, NDArray[np.float64]]:
    try:
        image: Any = nibabel.load(path)
        values = np.rint(np.asarray(image.dataobj, dtype=np.float32))
        lps = np.array(image.affine, dtype=np.float64)
    except Exception as error:  # Decompressors raise many types on a damaged file.
        raise DamagedFileError(
            f"The mask {path} cannot be read as NIfTI: {error}. Remove it or replace it by an "
            "intact copy."
        ) from error
    if values.ndim != 3:
        raise DamagedFileError(f"The mask {path} has shape {values.shape}; expected three axes.")
    distinct = np.unique(values)
    if distinct[0] < 0 or distinct[-1] > UNCLASSIFIED:
        raise DamagedFileError(
            f"The mask {path} contains values {distinct[0]:g}..{distinct[-1]:g}; expected 0 for "
            f"none, 1..5 for {', '.join(TYPES)} and 6 for unclassified blood."
        )
    lps[:3] = _RAS_TO_LPS @ lps[:3]
    return values.astype(np.uint8), lps


def _along_slices(
    labels: np.ndarray, affine: NDArray[np.float64], geometry: StudyGeometry, path: Path
) -> tuple[np.ndarray, NDArray[np.float64]]:
    """Reorder (i, j, k) to (K, J, I), i along the rows of the slices and j down the columns."""
    unit = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if abs(unit[:, 0] @ geometry.row_direction) < abs(unit[:, 1] @ geometry.row_direction):
        labels = labels.swapaxes(0, 1)
        affine = affine[:, [1, 0, 2, 3]]
        unit = unit[:, [1, 0, 2]]
    off = max(
        abs(unit[:, 0] @ geometry.normal),
        abs(unit[:, 1] @ geometry.normal),
        abs(unit[:, 0] @ geometry.col_direction),
        abs(unit[:, 1] @ geometry.row_direction),
    )
    if off > _PARALLEL:
        raise SourceError(
            f"The planes of the mask {path} are turned by {np.rad2deg(np.arcsin(min(off, 1))):.0f} "
            "degrees relative to the slices of its study; expected a mask drawn on these slices, "
            "saved with their orientation."
        )
    return np.ascontiguousarray(labels.transpose(2, 1, 0)), affine


def _lookup(
    sizes: tuple[int, int], slice_mm: tuple[float, float], mask_mm: tuple[Any, Any]
) -> NDArray[np.intp]:
    """Return the mask index of each pixel along an axis of the slice; -1 outside.

    Args:
        sizes: Number of pixels of the slice and of the mask.
        slice_mm: Position of the slice's first pixel along the axis, and its pixel spacing.
        mask_mm: The same for the mask; a negative spacing means the opposite direction.
    """
    (size, mask_size), (offset, spacing), (origin, step) = sizes, slice_mm, mask_mm
    if size == mask_size:
        index = np.arange(size)
        return index if step > 0 else index[::-1]
    index = np.floor((offset + np.arange(size) * spacing - origin) / step + 0.5).astype(np.intp)
    return np.where((index >= 0) & (index < mask_size), index, -1)
