"""Whether values can be the CT numbers of a head: one check for DICOM, NIfTI and arrays.

Only what is certain is refused; children, craniectomies and single slices must pass.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rsna19_kedro.errors import SourceError

_PADDING_BELOW_HU: Final = -1100
"""Below air: what scanners fill in outside their circle."""
_AIR_BELOW_HU: Final = -300
_AIR_HU: Final = (-1100, -850)
_IMPOSSIBLE_ABOVE_HU: Final = 4000
_BONE_ABOVE_HU: Final = 250
_TISSUE_HU: Final = (-150, 200)
_MOST_IMPOSSIBLE: Final = 0.05
_LEAST_AIR: Final = 0.02
_LEAST_TISSUE: Final = 0.002
_LEAST_BONE: Final = 0.0005
_LARGEST_HEAD_CM2: Final = 450.0
"""Cross-sections of adult heads reach about 300 cm2, those of trunks begin at about 450."""
_SMALLEST_HEAD_CM2: Final = 30.0
_STEP: Final = 4
"""Every fourth pixel of every fourth row is looked at."""
_CONVERT: Final = "Convert it to HU, or export it with its rescale slope and intercept."


def check_hu(slices: Sequence[np.ndarray | None] | np.ndarray) -> list[int]:
    """Check that values can be CT numbers: air near -1000 HU, and nothing impossible.

    Args:
        slices: (H, W) each, HU before padding is clipped; ``None`` for one that is missing.

    Returns:
        Numbers of the slices whose values cannot be HU: damaged, or not of this series.

    Raises:
        SourceError: Most slices cannot be HU; says what was found.
    """
    found = [None if hu is None else _why_not_hu(hu[::_STEP, ::_STEP]) for hu in slices]
    wrong = {number: reason for number, reason in enumerate(found) if reason}
    if len(wrong) > sum(reason is not None for reason in found) / 2:
        raise SourceError(list(wrong.values())[len(wrong) // 2])
    return list(wrong)


def _why_not_hu(hu: np.ndarray) -> str:
    """Say why the values of a slice cannot be HU; empty if they can."""
    values = hu.ravel().astype(np.float32)
    shown = f"values from {values.min()} to {values.max()}, which are not HU"
    if (values > _IMPOSSIBLE_ABOVE_HU).mean() > _MOST_IMPOSSIBLE:
        return (
            f"{shown}: many are above {_IMPOSSIBLE_ABOVE_HU}, as where negative values were "
            "stored without their sign. Export it with the right rescale slope and intercept."
        )
    air = values[(values > _PADDING_BELOW_HU) & (values < _AIR_BELOW_HU)]
    if len(air) <= _LEAST_AIR * len(values):
        too_bright = values.min() >= _AIR_BELOW_HU  # Else too little air to say what it is at.
        return f"{shown}: air is about -1000. {_CONVERT}" if too_bright else ""
    middle = float(np.median(air))
    if _AIR_HU[0] <= middle <= _AIR_HU[1]:
        return ""
    return f"{shown}: most of the air is at {middle:.0f} instead of about -1000. {_CONVERT}"


def check_head(volume: np.ndarray, spacing_mm: tuple[float, float]) -> list[str]:
    """Check that a volume in HU can be a head.

    Args:
        volume: (S, H, W) HU.
        spacing_mm: Distance of rows and of columns; NaN where unknown (an array that
            may be anything), then neither size nor bone is judged.

    Returns:
        Remarks: what a person should know.

    Raises:
        SourceError: It is certainly no head: only air, no bone, or a cross-section as large as
            a trunk's.
    """
    tissue = (volume > _TISSUE_HU[0]) & (volume < _TISSUE_HU[1])
    if tissue.mean() < _LEAST_TISSUE:
        raise SourceError("hardly anything but air: nothing that could be a head.")
    if not np.isfinite(spacing_mm).all():
        return []
    if len(volume) > 1 and (volume > _BONE_ABOVE_HU).sum() < _LEAST_BONE * tissue.sum():
        raise SourceError("no bone in it: not a head.")
    areas = _cross_sections_cm2(volume[:, ::_STEP, ::_STEP], spacing_mm)
    middle = float(np.median(areas))
    if middle > _LARGEST_HEAD_CM2:
        raise SourceError(
            f"not a head: its cross-section of {middle:.0f} cm2 is as large as a trunk's."
        )
    if areas.max() < _SMALLEST_HEAD_CM2:
        return [f"its largest cross-section is only {areas.max():.0f} cm2: not a whole head?"]
    return []


def _cross_sections_cm2(slices: np.ndarray, spacing_mm: tuple[float, float]) -> NDArray[np.float64]:
    """Area of the largest body in each slice, its hollows included."""
    pixel_cm2 = spacing_mm[0] * spacing_mm[1] * _STEP**2 / 100
    areas = []
    for hu in slices:
        bodies, count = ndimage.label(hu > _AIR_BELOW_HU)
        if count:
            largest = bodies == np.bincount(bodies.ravel())[1:].argmax() + 1
            areas.append(ndimage.binary_fill_holes(largest).sum() * pixel_cm2)
    return np.array(areas or [0.0])
