"""Scalp, vault, skull base, air spaces and orbits."""

from dataclasses import dataclass

import numpy as np

from rsna19_kedro.phantoms.fields import EDGE_MM, Floats, Points, capsule, ellipsoid, ramp, soft
from rsna19_kedro.phantoms.head import Head, Swelling

AXES_MM = (76.0, 95.0, 90.0, 122.0)
"""Semi-axes of the scalp's surface: half width, half length, height up and down."""

FAT_HU, SKIN_HU, AIR_HU = -85.0, 35.0, -1000.0


@dataclass(frozen=True)
class Vault:
    """Depths at N points, each (N,).

    Attributes:
        depth: Depth beneath the surface of the scalp, mm.
        scalp: Local thickness of the scalp, mm.
        skull: Local thickness of the vault, mm.
        blur: Width of a tissue edge, mm; wider where the slice cuts the vault obliquely.
    """

    depth: Floats
    scalp: Floats
    skull: Floats
    blur: Floats

    @property
    def inner(self) -> Floats:
        """Depth beneath the inner table, mm."""
        return np.asarray(self.depth - self.scalp - self.skull)


def surface_depth(head: Head, points: Points) -> tuple[Floats, Floats]:
    """Compute the depth beneath the scalp's surface and the obliqueness of the slice to it.

    Returns:
        Depth (N,), mm, and the absolute cosine between the surface's and the slice's normal.
    """
    a, b, up, down = AXES_MM
    egg = points.x / (1 + points.y * np.float32(0.10 / b))  # Wider at the back than in front.
    c2 = np.where(points.z > 0, np.float32(1 / up**2), np.float32(1 / down**2))
    gx, gy, gz = egg * np.float32(1 / a**2), points.y * np.float32(1 / b**2), points.z * c2
    rho = np.sqrt(egg * gx + points.y * gy + points.z * gz)
    steep = np.sqrt(gx * gx + gy * gy + gz * gz) + np.float32(1e-6)
    depth = (1 - rho) * rho / steep + np.float32(0.9) * points.field(head.fields.shape)
    for swelling in head.swellings:
        depth = depth + _bump(swelling, points)
    nx, ny, nz = points.normal
    return depth, np.abs(gx * nx + gy * ny + gz * nz) / steep


def _bump(swelling: Swelling, points: Points) -> Floats:
    """Compute how far a bruise lifts the scalp, (N,), mm."""
    x, y, z = swelling.centre
    squares = (points.x - x) ** 2 + (points.y - y) ** 2 + (points.z - z) ** 2
    share = np.clip(1 - squares * np.float32(1 / swelling.reach_mm**2), 0, 1)
    return np.asarray(np.float32(swelling.thickness_mm) * np.sqrt(share) * share)


def vault(head: Head, points: Points, depth: Floats, facing: Floats) -> Vault:
    """Compute the thickness of scalp and skull at points of known depth."""
    vary = points.field(head.fields.thickness)
    low = 1 - ramp(points.z, -5, 25)
    side = ramp(np.abs(points.x), 35, 55)
    temporal = np.exp(-(((points.y + 22) / 26) ** 2)) * low * side
    front = ramp(-points.y, 70, 84) * (1 - ramp(np.abs(points.x), 12, 26))
    frontal_sinus = front * (1 - ramp(np.abs(points.z + 20), 8, 18))
    scalp = head.scalp_mm + 0.5 * vary + 8.5 * temporal + 2 * ramp(points.y, 60, 90)
    for swelling in head.swellings:
        scalp = scalp + _bump(swelling, points)
    skull = head.skull_mm * (1 + 0.11 * vary - 0.45 * temporal) + 5 * frontal_sinus
    across = points.thickness_mm * facing
    blur = np.sqrt(EDGE_MM**2 + across * across)
    return Vault(depth, scalp, skull, np.asarray(blur))


def vault_hu(head: Head, points: Points, shell: Vault) -> tuple[Floats, Floats]:
    """Compute the HU of the scalp's tissue and of the vault's bone, each (N,)."""
    layer = shell.depth
    fat = soft(layer - 1.8, 1.0) * soft(shell.scalp - 1.2 - layer, 1.0)
    deep_muscle = soft(layer - 5.0, 1.5) * soft(shell.scalp - 7.0, 1.5)
    tissue = SKIN_HU + (FAT_HU - SKIN_HU) * fat
    tissue += (head.muscle_hu - tissue) * deep_muscle
    for swelling in head.swellings:
        lifted = ramp(_bump(swelling, points), 0.5, 2.5) * soft(layer - 3.5)
        tissue += (swelling.hu - tissue) * lifted
    u = layer - shell.scalp
    tables = np.maximum(soft(1.7 - u), soft(u - shell.skull + 1.6))
    sponge = head.diploe_hu + 170 * points.field(head.fields.diploe)
    sinus = soft(shell.skull - 10, 2.0) * ramp(-points.y, 66, 74)
    sponge += (-950 - sponge) * sinus
    return tissue, np.asarray(sponge + (head.bone_hu - sponge) * tables)


def base_height(points: Points) -> Floats:
    """Compute the height z of the skull base's inner surface, (N,), mm, with its three fossae."""
    ax, y = np.abs(points.x), points.y
    roofs = 8 * np.exp(-(((ax - 29) / 15) ** 2) - ((y + 50) / 22) ** 2)
    front = -31 + roofs - 5 * np.exp(-((ax / 8) ** 2))
    middle = -47 + 18 * np.exp(-((ax / 13) ** 2))
    ridge = 2 + 0.5 * ax
    wing = ramp(y, -34, -22)
    slope = 13 + 16 * np.exp(-((ax / 12) ** 2))  # The clivus is flatter than the petrous bone.
    behind = np.clip((y - ridge) / slope, 0, 1)
    height = front + (middle - front) * wing
    height = height + (-67 - height) * (behind * behind * (3 - 2 * behind))
    height = height + 21 * petrous(points)
    hole = 1 - ramp(np.hypot(points.x / 15, (y - 30) / 18), 0.85, 1.1)
    return np.asarray(height - 90 * hole)


def petrous(points: Points) -> Floats:
    """Compute the weight 0..1 of the petrous ridges, (N,)."""
    ax = np.abs(points.x)
    across = points.y - (2 + 0.5 * ax)
    along = ramp(ax, 9, 18) * (1 - ramp(ax, 56, 70))
    return np.asarray(np.exp(-((across / 8) ** 2)) * along)


def base_hu(head: Head, points: Points, below: Floats) -> Floats:
    """Compute the HU below the brain: bone of the base, face, air spaces, orbits.

    Args:
        head: The head.
        points: N points.
        below: Distance beneath the base's inner surface, (N,), mm.
    """
    cells = points.field(head.fields.cells)
    patches = points.field(head.fields.soft_tissue)
    hu = np.where(patches > 0.55, FAT_HU, head.muscle_hu + 4 * patches)
    thick = 4 + patches + 30 * petrous(points)
    bone = soft(thick - below, 2.0)
    body = capsule(points, (0, -12, -38), (0, 16, -62), (9, 9))  # Clivus.
    bone = np.maximum(bone, soft(body))
    folded = Points(np.abs(points.x), points.y, points.z)
    mastoid = soft(ellipsoid(folded, (52, 34, -50), (14, 17, 24)), 2.0)
    bone = np.maximum(bone, mastoid)
    hu = hu + (0.75 * head.bone_hu + 120 * cells - hu) * bone
    hu = _orbits(hu, folded)
    return _air(hu, folded, cells, mastoid)


def _orbits(hu: Floats, folded: Points) -> Floats:
    cone = capsule(folded, (31, -62, -40), (16, -28, -38), (18.5, 5))
    hu = hu + (900 - hu) * soft(2.0 - np.abs(cone + 1.0)) * ramp(-folded.y, -80, -30)
    inside = soft(cone)
    content = np.full_like(hu, FAT_HU)
    nerve = np.maximum(
        capsule(folded, (31, -62, -40), (15, -28, -38), (2.0, 2.2)),
        np.maximum(
            capsule(folded, (43, -62, -40), (20, -32, -38), (2.0, 1.5)),
            capsule(folded, (20, -62, -40), (14, -32, -38), (2.0, 1.5)),
        ),
    )
    content += (45 - content) * soft(nerve)
    globe = ellipsoid(folded, (31, -71, -40), (12, 12.5, 12))
    content += (14 - content) * soft(globe)
    content += (80 - content) * soft(ellipsoid(folded, (31, -80, -40), (4.5, 2.2, 4.5)))
    content += (45 - content) * soft(1.0 - np.abs(globe))
    return np.asarray(hu + (content - hu) * inside)


def _air(hu: Floats, folded: Points, cells: Floats, mastoid: Floats) -> Floats:
    """Add ethmoid, sphenoid and maxillary sinuses, nose, mastoid cells and ear canals."""
    ethmoid = ellipsoid(folded, (6, -50, -44), (7, 24, 13))
    sphenoid = ellipsoid(folded, (8, -20, -42), (9, 11, 9))
    maxilla = ellipsoid(folded, (30, -52, -75), (13, 16, 17))
    nose = ellipsoid(folded, (4, -45, -72), (7, 34, 18))
    walls = np.maximum(np.maximum(ethmoid, sphenoid), np.maximum(maxilla, nose))
    hu = hu + (750 - hu) * soft(1.3 - np.abs(walls + 0.6))
    septa = soft(0.28 - np.abs(cells), 0.3)
    air = np.maximum(soft(ethmoid) * (1 - septa), soft(np.maximum(sphenoid, maxilla)))
    air = np.maximum(air, soft(nose) * (1 - 0.6 * septa))
    canal = capsule(folded, (48, 14, -44), (80, 14, -46), (3.2, 4.0))
    air = np.maximum(air, soft(canal))
    air = np.maximum(air, mastoid * soft(cells - 0.15, 0.7))
    return np.asarray(hu + (-980 - hu) * air)
