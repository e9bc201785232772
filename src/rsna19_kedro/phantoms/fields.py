"""Smooth random fields and soft shapes that can be evaluated at any point in space.

A field is a sum of plane waves. At a list of points this needs one cosine per point and wave. On
the pixels of a plane, the waves separate into products of a row factor and a column factor, so
that a whole slice is one small matrix product, which makes phantoms fast.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]

EDGE_MM: Final = 1.1
"""Width of the transition between two tissues: the scanner's in-plane blur."""


def soft(distance_mm: ArrayLike, width_mm: ArrayLike = EDGE_MM) -> Floats:
    """Return the fraction of a pixel inside a shape, 0..1, from its distance into the shape.

    Args:
        distance_mm: Signed distance, positive inside, any shape.
        width_mm: Width of the linear ramp, which is centred on the surface.
    """
    distance = np.asarray(distance_mm, np.float32)
    return np.asarray(np.clip(distance / np.asarray(width_mm, np.float32) + 0.5, 0, 1))


def ramp(value: Floats, low: float, high: float) -> Floats:
    """Return a smooth step: 0 below ``low``, 1 above ``high``, with zero slope at both ends."""
    t = np.clip((value - low) * np.float32(1 / (high - low)), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


@dataclass(frozen=True)
class Plane:
    """The pixel centres of one slice: ``origin + column * col_step + row * row_step``.

    Attributes:
        origin: Centre of the first pixel, (3,), mm.
        col_step: Step from one column to the next, (3,), mm.
        row_step: Step from one row to the next, (3,), mm.
        shape: Rows and columns (H, W).
    """

    origin: NDArray[np.float64]
    col_step: NDArray[np.float64]
    row_step: NDArray[np.float64]
    shape: tuple[int, int]

    def coordinates(self) -> tuple[Floats, Floats, Floats]:
        """Return the coordinates x, y, z of all pixels, each (H * W,)."""
        rows = np.arange(self.shape[0])[:, None]
        cols = np.arange(self.shape[1])[None, :]
        x, y, z = (
            (self.origin[i] + rows * self.row_step[i] + cols * self.col_step[i])
            .astype(np.float32)
            .ravel()
            for i in range(3)
        )
        return x, y, z


@dataclass(frozen=True)
class WaveField:
    """A smooth random function of space, mean 0, standard deviation about 1.

    Attributes:
        vectors: Wave vectors (K, 3), radians per mm.
        phases: Phases (K,), radians.
    """

    vectors: Floats
    phases: Floats

    @property
    def _amplitude(self) -> np.float32:
        return np.float32(np.sqrt(2 / len(self.phases)))

    def at(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Return the value at N points, (N,)."""
        phase = np.stack([x, y, z], axis=-1) @ self.vectors.T
        phase += self.phases
        return np.asarray(np.cos(phase, out=phase).sum(axis=-1) * self._amplitude)

    def on(self, plane: Plane) -> Floats:
        """Return the value at the pixels of a plane, (H * W,)."""
        start = self.phases + self.vectors @ plane.origin
        rows = start + np.arange(plane.shape[0])[:, None] * (self.vectors @ plane.row_step)
        cols = np.arange(plane.shape[1])[:, None] * (self.vectors @ plane.col_step)
        left = np.concatenate([np.cos(rows), np.sin(rows)], axis=1).astype(np.float32)
        right = np.concatenate([np.cos(cols), -np.sin(cols)], axis=1).astype(np.float32)
        return np.asarray((left @ right.T).ravel() * self._amplitude)


def wave_field(
    rng: np.random.Generator, shortest_mm: float, longest_mm: float, waves: int = 24
) -> WaveField:
    """Create a random field.

    Args:
        rng: Random number generator.
        shortest_mm: Shortest wavelength.
        longest_mm: Longest wavelength.
        waves: Number of plane waves.
    """
    direction = rng.normal(size=(waves, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    number = 2 * np.pi / rng.uniform(shortest_mm, longest_mm, size=(waves, 1))
    return WaveField(
        vectors=(direction * number).astype(np.float32),
        phases=rng.uniform(0, 2 * np.pi, waves).astype(np.float32),
    )


@dataclass(frozen=True)
class Points:
    """Points in head coordinates, with the plane that they belong to, if any.

    Attributes:
        x: Coordinate to the patient's left, (N,), mm.
        y: Coordinate to the back, (N,), mm.
        z: Coordinate to the vertex, (N,), mm.
        normal: Unit normal of the slice, (3,), for the blur of oblique surfaces.
        thickness_mm: Slice thickness; 0 for single points.
        plane: Plane whose pixels the points are.
        index: Indices of the pixels in the plane, (N,).
    """

    x: Floats
    y: Floats
    z: Floats
    normal: tuple[float, float, float] = (0.0, 0.0, 1.0)
    thickness_mm: float = 0.0
    plane: Plane | None = None
    index: NDArray[np.intp] | None = None

    def subset(self, keep: NDArray[np.bool_]) -> "Points":
        """Return the points for which ``keep`` (N,) is true."""
        index = None if self.index is None else self.index[keep]
        return Points(
            self.x[keep],
            self.y[keep],
            self.z[keep],
            self.normal,
            self.thickness_mm,
            self.plane,
            index,
        )

    def field(self, field: WaveField) -> Floats:
        """Return the value of a field at the points, (N,)."""
        if self.plane is None or self.index is None:
            return field.at(self.x, self.y, self.z)
        return np.asarray(field.on(self.plane)[self.index])


def ellipsoid(points: Points, centre: Sequence[float], axes: Sequence[float]) -> Floats:
    """Return the approximate distance into an axis-aligned ellipsoid, (N,), mm.

    It is one minus the normalised radius, times the mean semi-axis: zero on the surface, exact
    for a sphere.
    """
    radius = np.sqrt(squared_radius(points, centre, axes))
    return np.asarray((1 - radius) * np.float32(np.cbrt(np.prod(axes))))


def squared_radius(points: Points, centre: Sequence[float], axes: Sequence[float]) -> Floats:
    """Return the squared distance from a centre in units of the semi-axes, (N,)."""
    return np.asarray(
        ((points.x - np.float32(centre[0])) * np.float32(1 / axes[0])) ** 2
        + ((points.y - np.float32(centre[1])) * np.float32(1 / axes[1])) ** 2
        + ((points.z - np.float32(centre[2])) * np.float32(1 / axes[2])) ** 2
    )


def capsule(
    points: Points,
    start: Sequence[float],
    end: Sequence[float],
    radii: tuple[float, float],
) -> Floats:
    """Return the distance into a rod with round ends and a linearly varying radius.

    Args:
        points: N points.
        start: One end of the axis, mm.
        end: The other end, mm.
        radii: Radius at the start and at the end, mm.

    Returns:
        (N,), mm, positive inside.
    """
    axis = np.subtract(end, start).astype(np.float32)
    dx, dy, dz = (
        points.x - np.float32(start[0]),
        points.y - np.float32(start[1]),
        points.z - np.float32(start[2]),
    )
    along = np.clip((dx * axis[0] + dy * axis[1] + dz * axis[2]) / (axis @ axis), 0, 1)
    away = (dx - along * axis[0]) ** 2 + (dy - along * axis[1]) ** 2 + (dz - along * axis[2]) ** 2
    return np.asarray(radii[0] + (radii[1] - radii[0]) * along - np.sqrt(away), np.float32)
