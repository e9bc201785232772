"""Sampling of the HU and haemorrhages of a head at points or on a plane."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rsna19_kedro.phantoms.brain import brain_hu
from rsna19_kedro.phantoms.fields import Floats, Plane, Points, ramp, soft
from rsna19_kedro.phantoms.head import Head
from rsna19_kedro.phantoms.skull import (
    AIR_HU,
    Vault,
    base_height,
    base_hu,
    surface_depth,
    vault,
    vault_hu,
)


def sample_hu(head: Head, points_mm: ArrayLike) -> Floats:
    """Sample HU without noise at points in the patient frame.

    Args:
        head: The head.
        points_mm: (..., 3), LPS, mm.

    Returns:
        (...) HU.
    """
    return _at_points(head, points_mm)[0]


def sample_mask(head: Head, points_mm: ArrayLike) -> NDArray[np.uint8]:
    """Sample the haemorrhage type at points in the patient frame: 0 for none, 1 to 5 as in masks.

    Args:
        head: The head.
        points_mm: (..., 3), LPS, mm.
    """
    return to_mask(_at_points(head, points_mm)[1])


def sample_plane(head: Head, plane: Plane, thickness_mm: float = 0.0) -> tuple[Floats, Floats]:
    """Sample HU and blood on the pixels of a plane in the patient frame.

    Args:
        head: The head.
        plane: Plane of the pixels (H, W).
        thickness_mm: Slice thickness; it blurs the skull where the slice cuts it obliquely.

    Returns:
        HU (H, W) without noise, and the fraction of each type, (5, H, W).
    """
    inside = head.plane_to_head(plane)
    normal = np.cross(inside.col_step, inside.row_step)
    nx, ny, nz = (float(value) for value in normal / np.linalg.norm(normal))
    x, y, z = inside.coordinates()
    points = Points(x, y, z, (nx, ny, nz), thickness_mm, inside, np.arange(len(x)))
    hu, blood = _sample(head, points)
    return hu.reshape(plane.shape), blood.reshape(5, *plane.shape)


def to_mask(blood: Floats) -> NDArray[np.uint8]:
    """Return the type that fills more than half of a voxel, 0 for none.

    Args:
        blood: Fraction of each type, (5, ...).

    Returns:
        (...) uint8, 0 to 5.
    """
    return np.where(blood.max(axis=0) > 0.5, blood.argmax(axis=0) + 1, 0).astype(np.uint8)


def _at_points(head: Head, points_mm: ArrayLike) -> tuple[Floats, Floats]:
    given = np.asarray(points_mm, dtype=float)
    x, y, z = head.to_head(given.reshape(-1, 3)).astype(np.float32).T
    hu, blood = _sample(head, Points(x, y, z))
    return hu.reshape(given.shape[:-1]), blood.reshape(5, *given.shape[:-1])


def _sample(head: Head, points: Points) -> tuple[Floats, Floats]:
    """Compute HU (N,) and blood (5, N), each tissue only where it can occur."""
    hu = np.full(points.x.shape, AIR_HU, np.float32)
    blood = np.zeros((5, len(hu)), np.float32)
    depth, facing = surface_depth(head, points)
    body = depth > -4
    if body.any():
        inside = points.subset(body)
        shell = vault(head, inside, depth[body], facing[body])
        hu[body], blood[:, body] = _body(head, inside, shell)
    return hu, blood


def _body(head: Head, points: Points, shell: Vault) -> tuple[Floats, Floats]:
    tissue, bone_hu = vault_hu(head, points, shell)
    base = base_height(points)
    below = (base - points.z) * np.float32(0.85)
    inner = shell.inner
    # Beneath the skull base there is no vault, only the neck and the face.
    open_ = ramp(below, 8, 20) * (1 - ramp(points.y, 45, 60) * (1 - ramp(below, 25, 45)))
    bone = soft(shell.depth - shell.scalp, shell.blur) * soft(-inner, shell.blur) * (1 - open_)
    within = soft(inner, shell.blur)
    core = np.array(tissue)
    blood = np.zeros((5, len(tissue)), np.float32)
    brain = (inner > -3) & (below < 3)
    rest = (shell.depth - shell.scalp > -1) & (below > -3)
    up = soft(-below)
    face = np.zeros_like(tissue)
    if rest.any():
        face[rest] = base_hu(head, points.subset(rest), below[rest])
    if brain.any():
        near = np.minimum(inner, -below)[brain]
        value, part = brain_hu(head, points.subset(brain), near)
        core[brain] = value
        blood[:, brain] = part * (within * up)[brain]
    core = np.where(brain, core * up, 0) + face * (1 - up)
    outside = 1 - bone - within
    loose = open_ * soft(shell.depth - shell.scalp) * (1 - within)
    hu = tissue * (outside - loose) + face * loose + bone_hu * bone + core * within
    hu = hu + head.calibration_hu
    skin = soft(shell.depth, shell.blur)
    return np.asarray(AIR_HU + (hu - AIR_HU) * skin, np.float32), blood


def inner_table(head: Head, direction: ArrayLike, start: ArrayLike = (0, 0, 10)) -> Floats:
    """Find the point where a ray from inside the brain meets the inner table.

    Args:
        head: The head.
        direction: (3,) in head coordinates.
        start: Start of the ray, (3,), head coordinates, mm.

    Returns:
        The point (3,), head coordinates, mm, accurate to 0.1 mm.
    """
    ray = np.asarray(direction, float) / np.linalg.norm(direction)
    steps = np.arange(20, 120, 0.1)
    x, y, z = (np.asarray(start, float)[:, None] + ray[:, None] * steps).astype(np.float32)
    points = Points(x, y, z)
    shell = vault(head, points, *surface_depth(head, points))
    first = int(np.argmax(shell.inner < 0))
    return np.array([x[first], y[first], z[first]])
