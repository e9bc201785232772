"""The five haemorrhage types as shapes in head coordinates."""

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from rsna19_kedro.phantoms.fields import Floats, Points, ellipsoid, ramp, soft, squared_radius

Triple = tuple[float, float, float]

KINDS: Final = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural")
"""Types in the order of ``contracts.CLASSES``; their mask values are 1 to 5."""


@dataclass(frozen=True)
class Site:
    """Surroundings of a haemorrhage inside the dura, at N points.

    Attributes:
        points: The points, x measured from the midline.
        surface: Depth beneath the brain's surface, (N,), mm.
        free: Fraction of CSF in sulci and cisterns, (N,), 0..1.
        ventricle: Fraction of ventricle, (N,), 0..1.
        texture: A smooth random field, (N,), standard deviation 1.
    """

    points: Points
    surface: Floats
    free: Floats
    ventricle: Floats
    texture: Floats


@dataclass(frozen=True)
class Epidural:
    """A lens between bone and dura: the part of a ball that is inside the skull.

    Attributes:
        hu: Value of the clot.
        ball: Centre of the ball, outside the inner table, mm.
        radius_mm: Radius of the ball.
    """

    hu: float
    ball: Triple
    radius_mm: float
    kind: ClassVar[int] = 1

    def into(self, points: Points, depth: Floats) -> Floats:
        """Return the distance into the ball, (N,), mm; the skull bounds the other side."""
        x, y, z = self.ball
        away = np.sqrt((points.x - x) ** 2 + (points.y - y) ** 2 + (points.z - z) ** 2)
        return np.asarray(np.float32(self.radius_mm) - away)


@dataclass(frozen=True)
class Subdural:
    """A crescent along the inner table of one side, or along the falx.

    Attributes:
        hu: Value of the clot.
        side: -1 right, 1 left.
        centre: Middle of the crescent along y and z, mm.
        extent: Half extent along y and z, mm.
        thickness_mm: Greatest thickness.
        falx: Whether the crescent lies along the falx instead.
    """

    hu: float
    side: int
    centre: tuple[float, float]
    extent: tuple[float, float]
    thickness_mm: float
    falx: bool = False
    kind: ClassVar[int] = 5

    def into(self, points: Points, depth: Floats) -> Floats:
        """Return the distance into the crescent, (N,), mm; the skull bounds the other side."""
        off = ((points.y - self.centre[0]) / self.extent[0]) ** 2
        off = off + ((points.z - self.centre[1]) / self.extent[1]) ** 2
        local = self.thickness_mm * np.sqrt(np.clip(1 - off, 0, 1))
        lateral = self.side * points.x - 1.0
        reach = local - lateral if self.falx else local - depth
        return np.asarray(np.where(off < 1, np.minimum(reach, lateral), -np.abs(depth) - 1.0))


@dataclass(frozen=True)
class Intraparenchymal:
    """A clot with an irregular edge and a rim of oedema.

    Attributes:
        hu: Value of the clot.
        centre: Head coordinates, mm.
        axes: Semi-axes, mm.
        roughness: Irregularity of the edge relative to the mean semi-axis.
        oedema_mm: Width of the rim.
    """

    hu: float
    centre: Triple
    axes: Triple
    roughness: float = 0.15
    oedema_mm: float = 4.0
    kind: ClassVar[int] = 2
    widens_mm: ClassVar[float] = 0.0

    def swelling(self, points: Points) -> Floats:
        """Return the narrowing of nearby sulci, (N,), mm (negative)."""
        return np.asarray(-0.8 * soft(self._into(points, None) + 14, 16.0))

    def _into(self, points: Points, texture: Floats | None) -> Floats:
        into = ellipsoid(points, self.centre, self.axes)
        mean = float(np.cbrt(np.prod(self.axes)))
        return into if texture is None else into + self.roughness * mean * texture

    def oedema(self, site: Site) -> Floats:
        """Return the contribution of the rim, (N,), HU (negative)."""
        into = self._into(site.points, site.texture) + self.oedema_mm
        return np.asarray(-7.0 * soft(into, 5.0) * (self.oedema_mm > 0))

    def fraction(self, site: Site) -> Floats:
        """Return the fraction of blood, (N,), 0..1."""
        into = self._into(site.points, site.texture)
        return soft(into, 1.8) * soft(site.surface, 1.0) * (1 - site.ventricle)


@dataclass(frozen=True)
class Intraventricular:
    """Blood that has settled in the dependent part of the ventricles (supine), or fills them.

    Attributes:
        hu: Value of the blood.
        levels: The y behind which there is blood, for the right and the left lateral ventricle
            and for the third and fourth ventricle, mm.
        widens_mm: Widening of the ventricles (hydrocephalus).
    """

    hu: float
    levels: Triple
    widens_mm: float = 2.0
    kind: ClassVar[int] = 3

    def swelling(self, points: Points) -> Floats:
        """Return the narrowing of sulci, (N,), mm (negative)."""
        return np.full_like(points.x, -0.1 * self.widens_mm)

    def oedema(self, site: Site) -> Floats:
        """Return zeros, (N,): no oedema."""
        return np.zeros_like(site.surface)

    def fraction(self, site: Site) -> Floats:
        """Return the fraction of blood, (N,), 0..1."""
        p = site.points
        right, left, middle = self.levels
        level = np.where(p.x < 0, np.float32(right), np.float32(left))
        inner = (np.abs(p.x) < 5) & (p.y > -11) & (p.z < 12) | (p.z < -20) & (p.y > 15)
        level = np.where(inner, np.float32(middle), level)
        return np.asarray(site.ventricle * soft(p.y - level + 1.0 * site.texture, 3.0))


@dataclass(frozen=True)
class Subarachnoid:
    """Blood in the sulci and cisterns around a position.

    Attributes:
        hu: Value of the blood.
        centre: Head coordinates, mm.
        axes: Extent along x, y and z, mm.
        widens: Widening of the sulci, mm.
    """

    hu: float
    centre: Triple
    axes: Triple
    widens: float = 0.7
    kind: ClassVar[int] = 4
    widens_mm: ClassVar[float] = 0.0

    def swelling(self, points: Points) -> Floats:
        """Return the widening of sulci, (N,), mm."""
        spread = squared_radius(points, self.centre, self.axes)
        return np.asarray(self.widens * (1 - ramp(spread, 0.6, 1.2)))

    def oedema(self, site: Site) -> Floats:
        """Return zeros, (N,): no oedema."""
        return np.zeros_like(site.surface)

    def fraction(self, site: Site) -> Floats:
        """Return the fraction of blood, (N,), 0..1."""
        spread = squared_radius(site.points, self.centre, self.axes)
        reach = 1 - ramp(spread + 0.2 * site.texture, 0.55, 1.1)
        return np.asarray(site.free * reach)


Lesion = Epidural | Intraparenchymal | Intraventricular | Subarachnoid | Subdural
