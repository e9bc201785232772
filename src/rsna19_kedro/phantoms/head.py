"""Parameters and random fields of a synthetic head, from which its anatomy is computed.

The anatomy is defined for a head of average size in *head coordinates*: x to the patient's left,
y to the back, z to the vertex, mm, origin between the thalami. Persons differ in size, pose,
tissue values, width of the CSF spaces and random fields.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rsna19_kedro.phantoms.fields import Plane, WaveField, wave_field
from rsna19_kedro.phantoms.lesions import Lesion


@dataclass(frozen=True)
class Spot:
    """A small dense ellipsoid: a calcification or a vessel.

    Attributes:
        centre: Head coordinates, mm.
        axes: Semi-axes, mm.
        hu: Value in HU.
    """

    centre: tuple[float, float, float]
    axes: tuple[float, float, float]
    hu: float


@dataclass(frozen=True)
class Swelling:
    """A bruise of the scalp: as dense as a haemorrhage, but not one.

    Attributes:
        centre: Head coordinates, on the scalp, mm.
        reach_mm: Radius of the bruise.
        thickness_mm: Greatest lift of the scalp.
        hu: Value in HU.
    """

    centre: tuple[float, float, float]
    reach_mm: float
    thickness_mm: float
    hu: float


@dataclass(frozen=True)
class Fields:
    """The random fields of a head; for their wavelengths see ``_fields``."""

    shape: WaveField
    thickness: WaveField
    sulci: WaveField
    sulcal_depth: WaveField
    diploe: WaveField
    cells: WaveField
    folia: WaveField
    soft_tissue: WaveField
    lesion: WaveField


@dataclass(frozen=True)
class Head:
    """A head with all its random choices made.

    Attributes:
        scale: Size along x, y and z relative to the average head.
        yaw_deg: Rotation in the axial plane.
        pitch_deg: Nodding, about the x axis, chin up positive.
        offset_mm: Origin of the head coordinates in the patient frame (LPS), mm.
        skull_mm: Thickness of the vault.
        scalp_mm: Thickness of the scalp.
        gap_mm: Width of the subarachnoid space over the convexity.
        sulcus_mm: Half width of a sulcus at the surface.
        ventricle_mm: Widening of the ventricles relative to the average.
        midline_mm: Offset of the midline structures at the front and at the back.
        grey_hu: Value of cortex and deep nuclei.
        white_hu: Value of white matter.
        csf_hu: Value of ventricles and cisterns.
        bone_hu: Value of the inner and outer table.
        diploe_hu: Value of the diploe between them.
        muscle_hu: Value of the muscles of temple, face and neck.
        sinus_hu: Value of venous blood in the dural sinuses.
        falx_hu: Value of falx and tentorium.
        cupping_hu: Residual beam hardening (cupping) beneath the skull.
        calibration_hu: Offset of the scanner for all tissue.
        fields: Random fields.
        spots: Calcifications and vessels.
        swellings: Bruises of the scalp.
        lesions: Haemorrhages.
        shift_mm: Midline shift caused by a lesion.
        shift_centre: Position y and z of the largest shift.
    """

    scale: tuple[float, float, float]
    yaw_deg: float
    pitch_deg: float
    offset_mm: tuple[float, float, float]
    skull_mm: float
    scalp_mm: float
    gap_mm: float
    sulcus_mm: float
    ventricle_mm: float
    midline_mm: tuple[float, float]
    grey_hu: float
    white_hu: float
    csf_hu: float
    bone_hu: float
    diploe_hu: float
    muscle_hu: float
    sinus_hu: float
    falx_hu: float
    cupping_hu: float
    calibration_hu: float
    fields: Fields
    spots: tuple[Spot, ...]
    swellings: tuple[Swelling, ...] = ()
    lesions: tuple[Lesion, ...] = ()
    shift_mm: float = 0.0
    shift_centre: tuple[float, float] = (0.0, 15.0)

    def rotation(self) -> NDArray[np.float64]:
        """Return the matrix (3, 3) that rotates head coordinates to the patient frame."""
        yaw, pitch = np.deg2rad([self.yaw_deg, self.pitch_deg])
        about_z = [[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]]
        return np.array(about_z) @ rotation_about_x(pitch)

    def to_head(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert points (N, 3) from the patient frame to head coordinates, mm."""
        return (points_mm - self.offset_mm) @ self.rotation() / self.scale

    def plane_to_head(self, plane: Plane) -> Plane:
        """Convert a plane from the patient frame to head coordinates."""
        turn = self.rotation() / self.scale
        return Plane(
            (plane.origin - self.offset_mm) @ turn,
            plane.col_step @ turn,
            plane.row_step @ turn,
            plane.shape,
        )


def rotation_about_x(radians: float) -> NDArray[np.float64]:
    """Return the matrix of a right-handed rotation about the x axis, (3, 3)."""
    c, s = np.cos(radians), np.sin(radians)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def make_head(
    seed: int | np.random.Generator | Sequence[int],
    lesions: Sequence[Lesion] = (),
    *,
    average: bool = False,
) -> Head:
    """Create a random head.

    Args:
        seed: Random seed; the same seed gives the same head.
        lesions: Haemorrhages, in head coordinates.
        average: Whether size and tissue are average, without pose and spots; the fields remain
            random.

    Returns:
        The head: white matter 26..32 HU, grey 6..10 more, CSF 3..9, dural sinuses 41..57.
    """
    rng = np.random.default_rng(seed)
    spread = 0.0 if average else 1.0

    def around(middle: float, half: float) -> float:
        return float(middle + spread * rng.uniform(-half, half))

    size, white = around(1.0, 0.05), around(29.0, 3.0)
    age = rng.uniform() ** 1.3 if not average else 0.4  # 0 is young, 1 is atrophic.
    return Head(
        scale=(size * around(1, 0.04), size * around(1, 0.04), size * around(1, 0.04)),
        yaw_deg=float(spread * rng.normal(0, 5)),
        pitch_deg=float(spread * rng.normal(0, 4)),
        offset_mm=(around(0, 9), around(0, 10), around(0, 12)),
        skull_mm=around(6.8, 1.6),
        scalp_mm=around(5.0, 1.5),
        gap_mm=1.2 + 2.2 * age,
        sulcus_mm=0.15 + 0.85 * age,
        ventricle_mm=-1.0 + 5.0 * age,
        midline_mm=(around(0, 1.5), around(0, 1.5)),
        grey_hu=white + around(8.0, 1.8),
        white_hu=white,
        csf_hu=around(6.0, 3.0),
        bone_hu=around(1350, 250),
        diploe_hu=around(600, 200),
        muscle_hu=around(55, 7),
        sinus_hu=around(49, 8),
        falx_hu=around(45, 6),
        cupping_hu=around(6, 4),
        calibration_hu=around(0, 4),
        fields=_fields(rng),
        spots=() if average else _spots(rng, age),
        lesions=tuple(lesions),
    )


def _fields(rng: np.random.Generator) -> Fields:
    return Fields(
        shape=wave_field(rng, 110, 200, 12),
        thickness=wave_field(rng, 40, 80, 16),
        sulci=wave_field(rng, 18, 28, 20),
        sulcal_depth=wave_field(rng, 30, 60, 16),
        diploe=wave_field(rng, 4, 9, 40),
        cells=wave_field(rng, 5, 9, 40),
        folia=wave_field(rng, 5, 8, 40),
        soft_tissue=wave_field(rng, 14, 30, 24),
        lesion=wave_field(rng, 12, 30, 24),
    )


def _spots(rng: np.random.Generator, age: float) -> tuple[Spot, ...]:
    """Create age-related calcifications, and the arteries at the base."""
    spots = []

    def add(centre: Sequence[float], axes: Sequence[float], hu: float) -> None:
        x, y, z = (float(value) for value in rng.normal(centre, 0.8))
        a, b, c = (float(value * rng.uniform(0.8, 1.2)) for value in axes)
        spots.append(Spot((x, y, z), (a, b, c), hu))

    if rng.uniform() < 0.45 + 0.4 * age:
        add((0, 27, 6), (2.6, 3.0, 3.5), rng.uniform(90, 260))
    if rng.uniform() < 0.25 + 0.6 * age:
        for side in (-1, 1):
            add((side * 21, 36, 11), (2.8, 4.5, 4.0), rng.uniform(70, 220))
    for _ in range(rng.poisson(0.3 + 0.9 * age)):
        add((0, rng.uniform(-70, 40), rng.uniform(45, 68)), (1.6, 5, 4), rng.uniform(90, 300))
    if rng.uniform() < 0.25 * age:
        for side in (-1, 1):
            add((side * 21, -2, 2), (3, 5, 4), rng.uniform(48, 80))
    basilar = rng.uniform(40, 54)
    add((0, -4, -30), (2.0, 2.0, 9), basilar)
    for side in (-1, 1):
        add((side * 15, -14, -22), (9, 1.6, 1.8), basilar)
    return tuple(spots)
