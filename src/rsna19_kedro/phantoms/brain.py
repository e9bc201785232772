"""Contents of the skull: brain, CSF spaces, dura."""

from dataclasses import dataclass, replace

import numpy as np

from rsna19_kedro.phantoms.fields import Floats, Points, capsule, ellipsoid, ramp, soft
from rsna19_kedro.phantoms.head import Head
from rsna19_kedro.phantoms.lesions import Epidural, Site, Subdural

CORTEX_MM = 3.2


@dataclass(frozen=True)
class Regions:
    """Anatomical regions of N points inside the skull, each (N,).

    Attributes:
        cerebrum: Fraction above the tentorium, 0..1.
        medial: 1 where the hemispheres face each other across the falx, 0 elsewhere.
        brainstem: Distance into the brainstem, mm.
        tentorium: Height above the tentorium, mm.
    """

    cerebrum: Floats
    medial: Floats
    brainstem: Floats
    tentorium: Floats


def straighten(head: Head, points: Points) -> Points:
    """Return the points with x relative to the person's midline, which may be shifted."""
    front, back = head.midline_mm
    yc, zc = head.shift_centre
    middle = front + (back - front) * (points.y + 80) * np.float32(1 / 160)
    if head.shift_mm:
        bump = np.exp(-(((points.y - yc) / 45) ** 2) - ((points.z - zc) / 35) ** 2)
        middle = middle + head.shift_mm * bump
    return replace(points, x=np.asarray(points.x - middle, np.float32))


def regions(points: Points) -> Regions:
    """Assign points (x from the midline) to the regions of the brain."""
    ax, y, z = np.abs(points.x), points.y, points.z
    back = np.maximum(y - 40, 0)
    height = z - (11 - 0.42 * ax - 0.011 * back * back)
    behind = soft(y - 1 - 0.45 * ax, 4.0)
    cerebrum = 1 - soft(-height, 1.0) * behind
    callosal = np.hypot((y - 2) / 44, (z - 3) / 29)
    medial = ramp(callosal, 0.96, 1.06) * ((z > -8) | (y < -25))
    centre = 11 - 0.10 * np.maximum(-z - 10, 0) + 14 * ramp(-z, 38, 64)
    wide = 15 - 3.5 * ramp(z, -26, -14) - 7 * ramp(-z, 44, 60)
    radius = np.hypot(points.x / wide, (y - centre) / (wide - 2))
    stem = (1 - radius) * wide * soft(-8 - z, 4.0) - 3 * (1 - soft(-8 - z, 4.0))
    return Regions(
        cerebrum, medial.astype(np.float32), stem.astype(np.float32), height.astype(np.float32)
    )


def ventricles(head: Head, points: Points, extra_mm: float = 0.0) -> Floats:
    """Compute the distance into the ventricles, (N,), mm, of points with x from the midline."""
    folded = replace(points, x=np.abs(points.x), plane=None, index=None)
    w = head.ventricle_mm + extra_mm + 0.5 * points.field(head.fields.thickness)
    lateral = np.maximum.reduce(
        [
            capsule(folded, (9, -34, 7), (8, -12, 15), (2.6, 3.6)),
            capsule(folded, (8, -12, 16), (15, 24, 20), (3.6, 3.8)),
            capsule(folded, (16, 24, 19), (22, 40, 8), (4.2, 5.0)),
            capsule(folded, (22, 40, 8), (19, 62, 3), (4.6, 2.2)),
            capsule(folded, (24, 36, 2), (30, 14, -16), (2.6, 0.8)),
        ]
    )
    lateral = lateral + 0.75 * w
    third = np.minimum(ellipsoid(folded, (0, 6, 2), (9, 16, 9)), 1.0 + 0.35 * w - folded.x)
    fourth = ellipsoid(folded, (0, 28, -32), (7, 4.5, 9)) + 0.2 * w
    # The septum pellucidum separates the two frontal horns.
    lateral = np.minimum(lateral, folded.x - 0.7)
    return np.asarray(np.maximum(np.maximum(lateral, third), fourth), np.float32)


def cisterns(head: Head, points: Points, where: Regions, surface: Floats) -> Floats:
    """Compute the fraction of CSF outside ventricles and sulci, (N,), 0..1."""
    folded = replace(points, x=np.abs(points.x), plane=None, index=None)
    ax, y, z = folded.x, points.y, points.z
    w = head.gap_mm
    space = soft(-surface)
    fissure = soft(0.7 + 0.35 * w - ax) * where.medial * where.cerebrum
    vary = points.field(head.fields.lesion)
    suprasellar = soft(ellipsoid(folded, (0, -11, -22), (13, 11, 6)) + 0.5 * w)
    ring = 0.3 + 0.5 * w + 0.7 * vary - np.abs(where.brainstem + 1.5 + 0.5 * w)
    ambient = soft(ring, 1.6) * soft(-10 - z, 4.0) * np.where(y < 16, 1.0, ramp(z, -24, -16))
    quadrigeminal = soft(ellipsoid(folded, (0, 29, -3), (10, 4, 7)) + 0.5 * w)
    magna = soft(ellipsoid(folded, (0, 62, -58), (14, 9, 12)) + w)
    vermis = soft(ellipsoid(folded, (0, 44, 2), (5, 9, 3.5)) + 0.4 * w)
    insula = np.minimum(0.5 * w + 0.4 * vary - np.abs(ax - insula_at(points)), 20 - np.abs(y + 3))
    insula = np.minimum(insula, 13 - np.abs(z + 1))
    stem = capsule(folded, (17, -16, -22), (38, -20, -12), (1.2 + 0.4 * w, 1.5 + 0.6 * w))
    branch = capsule(folded, (38, -22, -4), (62, -26, 0), (1.0 + 0.7 * w, 0.8 + 0.5 * w))
    back = capsule(folded, (39, 18, 8), (64, 26, 16), (0.8 + 0.6 * w, 0.6 + 0.4 * w))
    sylvian = soft(np.maximum(np.maximum(insula, stem), np.maximum(branch, back)))
    basal = [suprasellar, ambient, quadrigeminal, magna, vermis, sylvian * where.cerebrum]
    return np.asarray(np.maximum.reduce([space, fissure, *basal]), np.float32)


def insula_at(points: Points) -> Floats:
    """Compute the distance of the insula from the midline, (N,), mm; convex outwards."""
    return np.asarray(39 - 0.011 * (points.y + 3) ** 2 - 0.008 * (points.z + 1) ** 2)


def cortex(
    head: Head, points: Points, depth: Floats, widening: Floats | float
) -> tuple[Floats, Floats]:
    """Compute the sulci and the cortical ribbon of the hemispheres.

    Sulci are where a random field on the surface is near zero. The field is extended inwards
    along slightly bent rays, so that sulci are sheets rather than dots.

    Args:
        head: The head.
        points: N points, x from the midline.
        depth: Depth beneath the nearest pial surface, (N,), mm.
        widening: Added to the half width of the sulci, mm.

    Returns:
        Fraction of CSF in sulci, fraction of grey matter, each (N,).
    """
    near = (depth < 27) & (depth > -2)
    fluid, grey = np.zeros_like(depth), np.zeros_like(depth)
    part = points.subset(near)
    d = depth[near]
    radius = np.sqrt(part.x**2 + part.y**2 + part.z**2) + 1
    stretch = (80 / radius) ** np.float32(0.6)
    fold = head.fields.sulci.at(part.x * stretch, part.y * stretch, part.z * stretch)
    away = np.abs(fold) / np.float32(0.27)
    length = 13 + 6 * part.field(head.fields.sulcal_depth)  # Some gyri touch and hide the sulcus.
    length = np.maximum(length, 1.0)
    spread = np.broadcast_to(np.asarray(widening, np.float32), depth.shape)[near]
    half = (head.sulcus_mm + 0.35 + spread) * np.clip(1.15 - d / length, -1.0, 1.0)
    fluid[near] = soft(half - away)
    ribbon = np.maximum(CORTEX_MM - d, np.minimum(half + CORTEX_MM - away, 21 - d))
    grey[near] = soft(ribbon, 1.5)
    return fluid, grey


def deep_nuclei(points: Points) -> Floats:
    """Compute the fraction of grey matter in thalamus, caudate and lentiform nucleus, (N,)."""
    folded = replace(points, x=np.abs(points.x), plane=None, index=None)
    shapes = [
        ellipsoid(folded, (10, 8, 3), (8.5, 14, 9)),
        ellipsoid(folded, (12.5, -18, 7), (5.5, 9, 9)),
        ellipsoid(folded, (25, -5, 1), (7, 15, 9)),
    ]
    claustrum = 4.2 - np.abs(folded.x - insula_at(points) - 1)
    claustrum = np.minimum(claustrum, 20 - np.abs(points.y + 3))
    claustrum = np.minimum(claustrum, 13 - np.abs(points.z + 1))
    return soft(np.maximum(np.maximum.reduce(shapes), claustrum), 2.0)


def brain_hu(head: Head, points: Points, depth: Floats) -> tuple[Floats, Floats]:
    """Compute HU and blood inside the dura.

    Args:
        head: The head.
        points: N points inside the skull or near it, in head coordinates.
        depth: Depth beneath the inner surface of the skull, (N,), mm.

    Returns:
        HU (N,) and the fraction of each haemorrhage type, (5, N), 0..1, in the order of
        ``contracts.CLASSES``.
    """
    points = straighten(head, points)
    surface, blood, clot_hu = _extra_axial(head, points, depth)
    clot = blood.sum(axis=0)
    where = regions(points)
    inside = [x for x in head.lesions if not isinstance(x, Epidural | Subdural)]
    widening = float(sum(lesion.widens_mm for lesion in inside))
    pial = np.where(
        where.medial > 0.5, np.minimum(surface, np.abs(points.x) - 0.5), surface
    ).astype(np.float32)
    swell = sum((x.swelling(points) for x in inside), np.zeros_like(depth))
    fluid, grey = cortex(head, points, pial, swell)
    fluid, grey = fluid * where.cerebrum, grey * where.cerebrum
    free = np.maximum(cisterns(head, points, where, surface), fluid) * (1 - clot)
    ventricle = soft(ventricles(head, points, widening)) * (1 - clot)
    hu = _parenchyma(head, points, where, np.maximum(grey, deep_nuclei(points)), depth)
    site = Site(points, surface, free, ventricle, points.field(head.fields.lesion))
    for lesion in inside:
        hu = hu + lesion.oedema(site)
    hu = hu + (head.csf_hu - hu) * np.maximum(free, ventricle)
    hu = _dura(head, points, where, depth, hu)
    for lesion in inside:
        share = lesion.fraction(site) * (1 - blood.sum(axis=0))
        hu = hu + (lesion.hu + 3 * site.texture - hu) * share
        blood[lesion.kind - 1] += share
    hu = hu * (1 - clot) + clot_hu + 3 * site.texture * clot
    return _spots(head, points, hu), blood


def _extra_axial(head: Head, points: Points, depth: Floats) -> tuple[Floats, Floats, Floats]:
    """Compute the clots between bone and brain.

    Returns:
        Depth beneath the brain's surface next to the clots, (N,), mm; the fraction of each
        type, (5, N); the sum of fraction times HU, (N,).
    """
    surface = depth - head.gap_mm * (1 + 0.3 * points.field(head.fields.thickness))
    blood = np.zeros((5, len(depth)), np.float32)
    clot_hu = np.zeros_like(depth)
    for lesion in head.lesions:
        if isinstance(lesion, Epidural | Subdural):
            into = lesion.into(points, depth)
            surface = np.minimum(surface, -into - 0.4)
            share = soft(np.minimum(into, depth + 0.5)) * (1 - blood.sum(axis=0))
            blood[lesion.kind - 1] += share
            clot_hu += share * lesion.hu
    return surface, blood, clot_hu


def _parenchyma(head: Head, points: Points, where: Regions, grey: Floats, depth: Floats) -> Floats:
    white, contrast = head.white_hu, head.grey_hu - head.white_hu
    folia = points.field(head.fields.folia)
    hind = white + 0.75 * contrast + 1.8 * folia
    stem = soft(where.brainstem, 2.0)
    hind = hind + (white + 0.35 * contrast - hind) * stem
    fore = white + contrast * grey
    hu = hind + (fore - hind) * where.cerebrum * (1 - stem)
    hu = hu + 1.2 * points.field(head.fields.soft_tissue)
    return np.asarray(hu + head.cupping_hu * np.exp(-np.maximum(depth, 0) / 4))


def _dura(head: Head, points: Points, where: Regions, depth: Floats, hu: Floats) -> Floats:
    """Add the falx, the tentorium and their venous sinuses."""
    ax, y, z = np.abs(points.x), points.y, points.z
    falx = soft(0.55 - ax) * where.medial * where.cerebrum * (z > -20) * soft(depth + 2, 1)
    notch = ramp(np.hypot(points.x / 17, (y - 12) / 26), 0.95, 1.1)
    tent = soft(0.8 - np.abs(where.tentorium)) * notch * soft(y - 2 - 0.45 * ax, 4.0)
    hu = hu + (head.falx_hu - hu) * np.maximum(falx, tent)
    sagittal = soft(4.2 - ax - 0.55 * np.maximum(depth, 0)) * ((z > 5) | (y > 50))
    sagittal = sagittal * ((y > -62) | (z > 30))
    side = soft(5.0 - np.hypot(where.tentorium, np.maximum(depth - 1.5, 0) * 1.2))
    side = side * ramp(y, 22, 34)
    straight = capsule(
        replace(points, plane=None, index=None), (0, 42, 8), (0, 84, -10), (1.6, 2.2)
    )
    sinus = np.maximum(np.maximum(sagittal, side), soft(straight))
    return np.asarray(hu + (head.sinus_hu - hu) * sinus)


def _spots(head: Head, points: Points, hu: Floats) -> Floats:
    for spot in head.spots:
        near = ellipsoid(points, spot.centre, spot.axes)
        hu = hu + (spot.hu - hu) * soft(near, 1.4)
    return np.asarray(hu, np.float32)
