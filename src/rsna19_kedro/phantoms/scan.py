"""The simulated scanner: slice geometry, noise and artefacts.

The gantry is tilted about the x axis through the isocentre and the table moves along z. The
slices of a tilted scan are therefore parallel planes shifted along z, not along their normal
(DICOM PS3.3 C.7.6.2.1.1; GantryDetectorTilt), and a stack of them is sheared.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from rsna19_kedro.contracts import PADDING_HU
from rsna19_kedro.phantoms.fields import Floats, Plane
from rsna19_kedro.phantoms.head import Head, rotation_about_x
from rsna19_kedro.phantoms.sampling import sample_plane, to_mask


@dataclass(frozen=True)
class Acquisition:
    """Parameters of a scan.

    Attributes:
        slice_positions_mm: Table position z of each slice's centre, (S,), in any order.
        tilt_deg: Gantry tilt; ImageOrientationPatient is (1, 0, 0, 0, cos, sin).
        pixel_spacing_mm: Spacing of rows and of columns.
        size_px: Rows and columns.
        thickness_mm: Slice thickness.
        head_rotation_deg: Rotation of the head about the x axis through the isocentre that makes
            planes tilted by this angle horizontal: a scan without tilt of the head rotated by
            ``t`` at positions ``z * cos(t)`` shows the same as a scan tilted by ``t`` at ``z``,
            with slice ``z`` shifted by ``z * sin(t)`` along y.
        noise_hu: Standard deviation of the noise; multiplied by 1.15 in the centre of the image,
            falling to 0.8 far from it.
        streak_hu: Amplitude of beam-hardening streaks.
        circle: Whether pixels outside the circular field of view are padding.
        holder_hu: Value of the head holder; None for no holder.
    """

    slice_positions_mm: tuple[float, ...]
    tilt_deg: float = 0.0
    pixel_spacing_mm: float = 0.5
    size_px: int = 512
    thickness_mm: float = 5.0
    head_rotation_deg: float = 0.0
    noise_hu: float = 6.0
    streak_hu: float = 4.0
    circle: bool = True
    holder_hu: float | None = None

    @property
    def orientation(self) -> tuple[float, ...]:
        """ImageOrientationPatient (0020,0037), six numbers."""
        tilt = np.deg2rad(self.tilt_deg)
        return (1.0, 0.0, 0.0, 0.0, float(np.cos(tilt)), float(np.sin(tilt)))

    def positions(self) -> NDArray[np.float64]:
        """Return ImagePositionPatient (0020,0032) of every slice, (S, 3), mm."""
        steps = np.array(self.orientation).reshape(2, 3).sum(axis=0)
        corner = -steps * self.pixel_spacing_mm * (self.size_px - 1) / 2
        along = np.zeros((len(self.slice_positions_mm), 3))
        along[:, 2] = self.slice_positions_mm
        return np.asarray(corner + along)

    def planes(self) -> list[Plane]:
        """Return the pixel plane of every slice in the patient frame."""
        row, col = np.array(self.orientation).reshape(2, 3) * self.pixel_spacing_mm
        shape = (self.size_px, self.size_px)
        return [Plane(origin, row, col, shape) for origin in self.positions()]


@dataclass(frozen=True)
class Scan:
    """Result of a scan.

    Attributes:
        hu: (S, H, W) float32, HU.
        mask: (S, H, W) uint8: 0 none, 1 to 5 the haemorrhage types in the order of CLASSES.
        acquisition: Parameters of the scan, with the geometry of the slices.
    """

    hu: Floats
    mask: NDArray[np.uint8]
    acquisition: Acquisition

    def affine(self) -> NDArray[np.float64]:
        """Return the affine (4, 4) from voxels (column, row, slice) to the patient frame (LPS).

        Raises:
            ValueError: Slice distances are uneven, so that there is no affine.
        """
        positions = self.acquisition.positions()
        steps = np.diff(positions, axis=0)
        if len(steps) and np.abs(steps - steps.mean(axis=0)).max() > 1e-3:
            raise ValueError("Slice distances are uneven: this scan has no affine.")
        matrix = np.eye(4)
        row, col = np.array(self.acquisition.orientation).reshape(2, 3)
        matrix[:3, 0] = row * self.acquisition.pixel_spacing_mm
        matrix[:3, 1] = col * self.acquisition.pixel_spacing_mm
        matrix[:3, 2] = steps.mean(axis=0) if len(steps) else (0, 0, 1)
        matrix[:3, 3] = positions[0]
        return matrix


def acquire(
    head: Head,
    acquisition: Acquisition,
    *,
    seed: int | tuple[int, ...] = 0,
    noise_hu: float | None = None,
) -> Scan:
    """Scan a head.

    Args:
        head: The head.
        acquisition: Parameters of the scan.
        seed: Random seed of the noise.
        noise_hu: Overrides the acquisition's noise; 0 also disables the streaks.

    Returns:
        The scan. The mask contains voxels of which blood fills more than half.
    """
    if noise_hu is not None:
        streaks = acquisition.streak_hu if noise_hu else 0.0
        acquisition = replace(acquisition, noise_hu=noise_hu, streak_hu=streaks)
    turn = rotation_about_x(-np.deg2rad(acquisition.head_rotation_deg))
    size = acquisition.size_px
    hu = np.empty((len(acquisition.slice_positions_mm), size, size), np.float32)
    mask = np.zeros(hu.shape, np.uint8)
    artefacts = _Artefacts(acquisition, np.random.default_rng(seed))
    for k, plane in enumerate(acquisition.planes()):
        # Instead of rotating the head by R, rotate the planes by the inverse of R.
        seen = Plane(plane.origin @ turn, plane.col_step @ turn, plane.row_step @ turn, plane.shape)
        hu[k], blood = sample_plane(head, seen, acquisition.thickness_mm)
        mask[k] = to_mask(blood)
        artefacts.add(hu[k])
    return Scan(hu, mask, acquisition)


class _Artefacts:
    """Noise, streaks, head holder and padding of the slices of a scan."""

    def __init__(self, acquisition: Acquisition, rng: np.random.Generator) -> None:
        self.how, self.rng = acquisition, rng
        size, spacing = acquisition.size_px, acquisition.pixel_spacing_mm
        axis = ((np.arange(size) - (size - 1) / 2) * spacing).astype(np.float32)
        self.x, self.y = axis[None, :], axis[:, None]
        self.radius = np.hypot(self.x, self.y)
        self.reach = size * spacing / 2 - 1.0  # Radius of the field of view, mm.
        self.transfer = _noise_transfer(size, spacing)
        # Fewer photons pass through the centre of the head than through its periphery.
        self.level = 0.8 + 0.35 * np.exp(-((self.radius / 75) ** 2))

    def add(self, image: Floats) -> None:
        """Add all artefacts to one slice (H, W) in place."""
        if self.how.holder_hu is not None:
            self._hold(image, self.how.holder_hu)
        if self.how.streak_hu:
            image += self._streaks(image)
        if self.how.noise_hu:
            white = self.rng.standard_normal(image.shape, dtype=np.float32)
            grain = fft.irfft2(fft.rfft2(white) * self.transfer, s=image.shape)
            image += self.how.noise_hu * self.level * grain
        np.maximum(image, -1000, out=image)
        if self.how.circle:
            image[self.radius > self.reach] = PADDING_HU

    def _hold(self, image: Floats, hu: float) -> None:
        """Add a plastic shell beneath the head, visible only in air."""
        away = np.abs(np.hypot(self.x, self.y + 14) - 119)
        shell = np.clip(2.6 - away, 0, 1) * (self.y > 45)
        np.maximum(image, -1000 + (hu + 1000) * shell, out=image)

    def _streaks(self, image: Floats) -> Floats:
        """Create dark and bright bands, stronger in slices with more dense bone."""
        dense = np.minimum((image > 700).mean() * 12, 1.5)
        total = np.zeros_like(image)
        for _ in range(3):
            angle = self.rng.normal(0, 0.25)
            middle = self.rng.normal(5, 25)
            width = self.rng.uniform(2.5, 9)
            across = self.y * np.cos(angle) + self.x * np.sin(angle) - middle
            sign = self.rng.choice((-1.0, 1.0))
            total += sign * np.exp(-((across / width) ** 2))
        fade = np.exp(-((self.x / 55) ** 2))
        return np.asarray(self.how.streak_hu * dense * total * fade, np.float32)


def _noise_transfer(size: int, spacing_mm: float) -> Floats:
    """Return the filter that gives white noise the spectrum of filtered back-projection.

    Noise power rises with frequency like the ramp filter and falls with the kernel's
    apodisation (Riederer, Pelc and Chesler, Phys Med Biol 1978); standard deviation 1.
    """
    rows = fft.fftfreq(size, spacing_mm)[:, None]
    cols = fft.rfftfreq(size, spacing_mm)[None, :]
    frequency = np.hypot(rows, cols)
    power = (frequency + 0.02) * np.exp(-((frequency / 0.42) ** 2))
    whole = power[:, 1:-1].sum() * 2 + power[:, 0].sum() + power[:, -1].sum()
    return np.asarray(np.sqrt(power * size * size / whole), np.float32)
