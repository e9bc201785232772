"""Random haemorrhages and bruises at typical positions."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from rsna19_kedro.phantoms.head import Head, Swelling
from rsna19_kedro.phantoms.lesions import (
    KINDS,
    Epidural,
    Intraparenchymal,
    Intraventricular,
    Lesion,
    Subarachnoid,
    Subdural,
    Triple,
)
from rsna19_kedro.phantoms.sampling import inner_table
from rsna19_kedro.phantoms.skull import AXES_MM

_PARENCHYMA = (
    ((26, -4, 2), 3.0),  # Basal ganglia, the commonest site of a hypertensive haemorrhage.
    ((12, 9, 4), 1.5),  # Thalamus.
    ((32, -48, 16), 1.5),
    ((36, 34, 38), 1.5),
    ((44, 4, -20), 1.0),
    ((26, 58, 14), 1.0),
    ((24, -8, 48), 1.2),
    ((22, 52, -36), 0.8),  # Cerebellum.
)
_CISTERNS = (
    ((0, -12, -18), (46, 36, 20), 1.2),  # Basal cisterns: ruptured aneurysm.
    ((44, -14, -2), (30, 32, 20), 1.5),  # Sylvian fissure.
    ((46, -20, 38), (26, 32, 26), 1.5),  # Convexity: after trauma.
    ((38, 40, 44), (26, 30, 24), 1.5),
    ((10, -40, 44), (22, 34, 24), 0.8),
)


def add_haemorrhages(
    rng: np.random.Generator,
    head: Head,
    kinds: Sequence[str],
    *,
    small: bool = False,
    others_small: float = 0.68,
) -> Head:
    """Add haemorrhages of the given types to a head, with the midline shift they cause.

    Args:
        rng: Random number generator.
        head: Head without haemorrhages.
        kinds: Types from ``KINDS``, the main one first.
        small: Whether the main haemorrhage is small (mostly below 1 cm2 per slice).
        others_small: Probability that each of the others is small.

    Returns:
        The head with its lesions.

    Raises:
        ValueError: A type is unknown.
    """
    unknown = set(kinds) - set(KINDS)
    if unknown:
        raise ValueError(f"Unknown haemorrhage types {sorted(unknown)}; expected some of {KINDS}.")
    lesions: list[Lesion] = []
    shift, where = 0.0, (0.0, 15.0)
    # Contusions and hypertensive haemorrhages are often multiple.
    second = "intraparenchymal" in kinds and rng.uniform() < 0.4
    for kind in (*kinds, "intraparenchymal") if second else kinds:
        side = int(rng.choice((-1, 1)))
        is_small = bool(rng.uniform() < others_small) if lesions else small
        lesion = _DRAW[kind](rng, head, side, is_small)
        lesions.append(lesion)
        push, middle = _push(lesion)
        if abs(push) > abs(shift):
            shift, where = push * float(rng.uniform(0.5, 1.2)), middle
    return replace(head, lesions=tuple(lesions), shift_mm=shift, shift_centre=where)


def add_bruises(rng: np.random.Generator, head: Head, fraction: float = 0.65) -> Head:
    """Add bruises of the scalp to a head, with or without haemorrhages.

    They are as dense as haemorrhages, so that the number of bright pixels is hardly predictive.

    Args:
        rng: Random number generator.
        head: Head without bruises.
        fraction: Probability of a bruise, and then of a second one.
    """
    swellings: list[Swelling] = []
    while len(swellings) < 2 and rng.uniform() < fraction:
        azimuth, height = rng.uniform(0, 2 * np.pi), rng.uniform(-0.2, 0.8)
        flat = np.sqrt(1 - height**2)
        a, b, up, _ = AXES_MM
        centre = (a * flat * np.cos(azimuth), b * flat * np.sin(azimuth), up * height)
        reach, lift = rng.uniform(28, 60), rng.uniform(5, 13)
        swellings.append(Swelling(_triple(centre), float(reach), float(lift), _hu(rng, 48, 74)))
    return replace(head, swellings=tuple(swellings))


def _epidural(rng: np.random.Generator, head: Head, side: int, small: bool) -> Epidural:
    thick = rng.uniform(4, 6.5) if small else rng.uniform(10, 21)
    chord = thick * rng.uniform(1.7, 2.4)
    azimuth = np.deg2rad(rng.uniform(-50, 55))  # 0 is lateral.
    height = rng.uniform(-0.05, 0.65)
    ray = (side * np.cos(azimuth), 1.2 * np.sin(azimuth), height)
    surface = inner_table(head, ray)
    a, b, up, down = AXES_MM
    c = up if surface[2] > 0 else down
    normal = surface / np.array([a, b, c]) ** 2
    normal /= np.linalg.norm(normal)
    radius = (chord**2 + thick**2) / (2 * thick)  # Of the ball with a cap of this size.
    ball = surface + normal * (radius - thick)
    return Epidural(_hu(rng, 60, 76), _triple(ball), float(radius))


def _subdural(rng: np.random.Generator, head: Head, side: int, small: bool) -> Subdural:
    falx = bool(rng.uniform() < 0.15)
    thick = rng.uniform(2.6, 3.7) if small or falx else rng.uniform(5, 12)
    along, up = (14, 24), (24, 42)
    if not small:
        along, up = (38, 66), (24, 40)
    extent = (rng.uniform(*along), rng.uniform(*up))
    middle = (rng.uniform(-28, 40), rng.uniform(48, 60) if falx else rng.uniform(5, 45))
    return Subdural(
        _hu(rng, 58, 74),
        side,
        (float(middle[0]), float(middle[1])),
        (float(extent[0]), float(extent[1])),
        float(thick),
        falx,
    )


def _intraparenchymal(
    rng: np.random.Generator, head: Head, side: int, small: bool
) -> Intraparenchymal:
    weights = np.array([weight for _, weight in _PARENCHYMA])
    site = _PARENCHYMA[rng.choice(len(weights), p=weights / weights.sum())][0]
    centre = np.array(site, float) * (side, 1, 1) + rng.normal(0, 3, 3)
    radius = rng.uniform(4.5, 6.5) if small else rng.uniform(10, 18)
    axes = radius * rng.uniform(0.8, 1.25, 3) * (1, 1, 2.2 if small else 1.5)
    return Intraparenchymal(
        _hu(rng, 60, 78), _triple(centre), _triple(axes), oedema_mm=float(rng.uniform(2, 6))
    )


def _intraventricular(
    rng: np.random.Generator, head: Head, side: int, small: bool
) -> Intraventricular:
    if small:
        right, left = rng.uniform(42, 56, 2)
        middle = 100.0 if rng.uniform() < 0.5 else -60.0
    else:
        right, left = rng.uniform(20, 44, 2)
        middle = 100.0 if rng.uniform() < 0.3 else -60.0
        if rng.uniform() < 0.5:  # One side is completely filled with blood.
            filled = float(rng.uniform(-70, 10))
            right, left = (filled, left) if rng.uniform() < 0.5 else (right, filled)
    widening = rng.uniform(0.5, 2.0) if small else rng.uniform(1.0, 3.5)
    return Intraventricular(
        _hu(rng, 58, 74), (float(right), float(left), float(middle)), float(widening)
    )


def _subarachnoid(rng: np.random.Generator, head: Head, side: int, small: bool) -> Subarachnoid:
    weights = np.array([weight for _, _, weight in _CISTERNS])
    centre, axes, _ = _CISTERNS[rng.choice(len(weights), p=weights / weights.sum())]
    position = np.array(centre, float) * (side, 1, 1) + rng.normal(0, 4, 3)
    reach = np.array(axes) * (rng.uniform(0.45, 0.6) if small else rng.uniform(0.85, 1.3))
    reach[2] *= 2.0 if small else 1.3
    opening = rng.uniform(0.4, 0.7) if small else rng.uniform(0.6, 1.1)
    return Subarachnoid(_hu(rng, 57, 72), _triple(position), _triple(reach), float(opening))


_DRAW: Final[dict[str, Callable[[np.random.Generator, Head, int, bool], Lesion]]] = {
    "epidural": _epidural,
    "intraparenchymal": _intraparenchymal,
    "intraventricular": _intraventricular,
    "subarachnoid": _subarachnoid,
    "subdural": _subdural,
}


def _push(lesion: Lesion) -> tuple[float, tuple[float, float]]:
    """Return the midline shift of a lesion, mm, positive to the left, and its y and z position."""
    if isinstance(lesion, Subdural):
        far = 0.0 if lesion.falx else -lesion.side * 0.45 * max(lesion.thickness_mm - 3, 0)
        return far, lesion.centre
    if isinstance(lesion, Epidural):
        return float(-np.sign(lesion.ball[0]) * 2.5), lesion.ball[1:]
    if isinstance(lesion, Intraparenchymal):
        far = -np.sign(lesion.centre[0]) * 0.22 * max(np.mean(lesion.axes) - 8, 0)
        return float(far), lesion.centre[1:]
    return 0.0, (0.0, 15.0)


def _hu(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _triple(values: Sequence[float] | np.ndarray) -> Triple:
    x, y, z = (float(value) for value in values)
    return x, y, z
