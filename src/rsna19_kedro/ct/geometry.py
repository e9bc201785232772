"""Geometry of the slices of a study in the patient.

Everything comes from ImagePositionPatient (0020,0032) and ImageOrientationPatient (0020,0037),
in DICOM's patient frame LPS: x to the patient's left, y to the back, z to the head; unit mm.

Two names are easily confused. The *row direction* is the first triple of the orientation: along
a row, so across the columns; its pixel size is the **column** spacing, ``PixelSpacing[1]``. The
*column direction* is the second triple: down a column, so across the rows; its pixel size is
the **row** spacing, ``PixelSpacing[0]``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

SAME_POSITION_MM: Final = 1e-3
"""Slices closer than this along the normal have the same position."""

_AXIAL_LIMIT: Final = np.cos(np.deg2rad(45.0))
_UNIT_TOLERANCE: Final = 0.01

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class StudyGeometry:
    """Geometry of the S slices of a study.

    Attributes:
        row_direction: Unit vector along the rows (across the columns), (3,).
        col_direction: Unit vector down the columns (across the rows), (3,).
        normal: Unit vector across the slices, towards the head (see ``slice_normal``), (3,).
        position_mm: Position of each slice along the normal, (S,).
        row_offset_mm: Position of each slice's first pixel along the row direction, (S,);
            divide a difference by the column spacing to obtain columns.
        col_offset_mm: The same along the column direction, (S,); divide by the row spacing
            to obtain rows.
        tilt_deg: Gantry tilt, see ``tilt_deg``; NaN if the slices are not axial.
        axial: Whether the normal is within 45 degrees of the body's long axis.
        parallel: Whether all slices have the same orientation (within about half a degree).
    """

    row_direction: FloatArray
    col_direction: FloatArray
    normal: FloatArray
    position_mm: FloatArray
    row_offset_mm: FloatArray
    col_offset_mm: FloatArray
    tilt_deg: float
    axial: bool
    parallel: bool


def valid_orientation(orientation: ArrayLike) -> NDArray[np.bool_]:
    """Return which orientations are two perpendicular unit vectors.

    Args:
        orientation: (N, 6) values of ImageOrientationPatient; NaN for a missing one.

    Returns:
        (N,) booleans; lengths and the scalar product may be off by 1 %.
    """
    pairs = np.asarray(orientation, dtype=float).reshape(-1, 2, 3)
    lengths = np.linalg.norm(pairs, axis=2)
    product = (pairs[:, 0] * pairs[:, 1]).sum(axis=1)
    return np.asarray(
        (np.abs(lengths - 1) < _UNIT_TOLERANCE).all(axis=1) & (np.abs(product) < _UNIT_TOLERANCE)
    )


def slice_normal(orientation: ArrayLike) -> FloatArray:
    """Return the unit normal of slices, pointing from the feet to the head.

    Args:
        orientation: (..., 6) values of ImageOrientationPatient.

    Returns:
        (..., 3). If the z component is zero (a sagittal or coronal slice), the largest
        component is positive.
    """
    values = np.asarray(orientation, dtype=float)
    normal = np.cross(values[..., :3], values[..., 3:])
    normal = normal / np.linalg.norm(normal, axis=-1, keepdims=True)
    largest = np.take_along_axis(normal, np.abs(normal).argmax(axis=-1)[..., None], axis=-1)
    leading = np.where(np.abs(normal[..., 2:]) > _UNIT_TOLERANCE, normal[..., 2:], largest)
    return np.asarray(normal * np.where(leading < 0, -1.0, 1.0))


def is_axial(orientation: ArrayLike) -> NDArray[np.bool_]:
    """Return which slices are axial: normal within 45 degrees of z.

    Args:
        orientation: (..., 6) values of ImageOrientationPatient.

    Returns:
        (...) booleans; false for an invalid orientation. The steepest head CT gantries reach
        30 degrees.
    """
    frames = np.asarray(orientation, dtype=float)
    flat = frames.reshape(-1, 6)
    axial = valid_orientation(flat)
    axial[axial] = slice_normal(flat[axial])[:, 2] > _AXIAL_LIMIT
    return axial.reshape(frames.shape[:-1])


def tilt_deg(orientation: ArrayLike) -> FloatArray:
    """Return the gantry tilt in degrees, positive if the column direction rises to the head.

    The tilt is atan(z2 / y2) of an orientation (x1, y1, z1, x2, y2, z2). It is computed from the
    normal and so does not depend on rotation in the plane
    (docs/reference.md#conversion-to-volumes).

    Args:
        orientation: (..., 6) values of ImageOrientationPatient.

    Returns:
        (...) degrees, NaN if the slice is not axial.
    """
    normal = slice_normal(orientation)
    angle = np.rad2deg(np.arctan2(-normal[..., 1], normal[..., 2])) + 0.0  # -0.0 becomes 0.0
    return np.asarray(np.where(is_axial(orientation), angle, np.nan))


def study_geometry(position: ArrayLike, orientation: ArrayLike) -> StudyGeometry:
    """Compute the geometry of a study in the frame of its most common orientation.

    Args:
        position: (S, 3) ImagePositionPatient in mm, finite.
        orientation: (S, 6) ImageOrientationPatient, each one valid.

    Returns:
        Positions and offsets in the order of the input.
    """
    points = np.asarray(position, dtype=float).reshape(-1, 3)
    frames = np.asarray(orientation, dtype=float).reshape(-1, 6)
    common = most_common(frames, decimals=3)
    row = common[:3] / np.linalg.norm(common[:3])
    col = common[3:] / np.linalg.norm(common[3:])
    normal = slice_normal(common)
    return StudyGeometry(
        row_direction=row,
        col_direction=col,
        normal=normal,
        position_mm=points @ normal,
        row_offset_mm=points @ row,
        col_offset_mm=points @ col,
        tilt_deg=float(tilt_deg(common)),
        axial=bool(is_axial(common)),
        parallel=bool(np.abs(frames - common).max() < _UNIT_TOLERANCE),
    )


def order_slices(
    position_mm: ArrayLike, names: Sequence[str] | NDArray[np.object_]
) -> NDArray[np.intp]:
    """Return the order of slices along the normal, from feet to head.

    Args:
        position_mm: (S,) positions along the normal; NaN for a missing one.
        names: SOPInstanceUIDs, which order slices with the same or no position.

    Returns:
        (S,) indices that sort the slices; slices without a position come last.
    """
    position = np.asarray(position_mm, dtype=float)
    tie = np.argsort(np.argsort(np.asarray(names, dtype=object), kind="stable"))
    order = np.lexsort((tie, position))  # NaN sorts last.
    group = np.zeros(len(order), dtype=np.intp)
    # Rounding errors of the projection must not order slices at the same position.
    differs = ~(np.diff(position[order]) < SAME_POSITION_MM)
    missing = np.isnan(position[order])
    differs &= ~(missing[1:] & missing[:-1])
    group[1:] = np.cumsum(differs)
    return np.asarray(order[np.lexsort((tie[order], group))])


def most_common(rows: FloatArray, decimals: int | None = None) -> FloatArray:
    """Return the most common row of ``(N, K)``; rows that are equal after rounding are pooled."""
    keys = rows if decimals is None else rows.round(decimals) + 0.0
    _, first, counts = np.unique(keys, axis=0, return_index=True, return_counts=True)
    return np.asarray(rows[first[counts.argmax()]])
