"""Plausibility checks of the CT numbers of a head, shared by DICOM, NIfTI and arrays.

Only certain errors are refused: children, craniectomies and single slices must pass.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rsna19_kedro.errors import SourceError

_PADDING_BELOW_HU: Final = -1100
"""Padding outside the scanner's field of view has values below this, and below air."""
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
"""Cross-sections of adult heads reach about 300 cm2; those of trunks start at about 450."""
_SMALLEST_HEAD_CM2: Final = 30.0
_STEP: Final = 4
"""Every fourth pixel of every fourth row is checked."""
_CONVERT: Final = "Convert it to HU, or export it with its rescale slope and intercept."


def check_hu(slices: Sequence[np.ndarray | None] | np.ndarray) -> list[int]:
    """Check that values can be CT numbers: air near -1000 HU and no impossible values.

    Args:
        slices: (H, W) each, HU before padding is clipped; ``None`` for a missing slice.

    Returns:
        Numbers of the slices whose values cannot be HU (damaged, or of another series).

    Raises:
        SourceError: Most slices cannot be HU; the message says why.
    """
    reasons = [None if hu is None else _why_not_hu(hu[::_STEP, ::_STEP]) for hu in slices]
    wrong = {number: reason for number, reason in enumerate(reasons) if reason}
    if len(wrong) > sum(reason is not None for reason in reasons) / 2:
        raise SourceError(list(wrong.values())[len(wrong) // 2])
    return list(wrong)


def _why_not_hu(hu: np.ndarray) -> str:
    """Return why the values of a slice cannot be HU; empty if they can."""
    values = hu.ravel().astype(np.float32)
    shown = f"values from {values.min()} to {values.max()}, which are not HU"
    if (values > _IMPOSSIBLE_ABOVE_HU).mean() > _MOST_IMPOSSIBLE:
        return (
            f"{shown}: many are above {_IMPOSSIBLE_ABOVE_HU}, as if negative values were "
            "stored without their sign. Export it with the correct rescale slope and intercept."
        )
    air = values[(values > _PADDING_BELOW_HU) & (values < _AIR_BELOW_HU)]
    if len(air) <= _LEAST_AIR * len(values):
        too_bright = values.min() >= _AIR_BELOW_HU  # Otherwise there is too little air to check.
        return f"{shown}: air is about -1000. {_CONVERT}" if too_bright else ""
    middle = float(np.median(air))
    if _AIR_HU[0] <= middle <= _AIR_HU[1]:
        return ""
    return f"{shown}: most of the air is at {middle:.0f} instead of about -1000. {_CONVERT}"


def check_head(volume: np.ndarray, spacing_mm: tuple[float, float]) -> list[str]:
    """Check that a volume in HU can be a head.

    Args:
        volume: (S, H, W) HU.
        spacing_mm: Row and column spacing; if NaN (unknown, as of an array), size and bone are
            not checked.

    Returns:
        Remarks for the user.

    Raises:
        SourceError: The volume is certainly not a head: only air, no bone, or a cross-section
            as large as that of a trunk.
    """
    tissue = (volume > _TISSUE_HU[0]) & (volume < _TISSUE_HU[1])
    if tissue.mean() < _LEAST_TISSUE:
        raise SourceError("hardly anything but air: not a head.")
    if not np.isfinite(spacing_mm).all():
        return []
    if len(volume) > 1 and (volume > _BONE_ABOVE_HU).sum() < _LEAST_BONE * tissue.sum():
        raise SourceError("no bone: not a head.")
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
    """Return the area of the largest object in each slice, including its cavities."""
    pixel_cm2 = spacing_mm[0] * spacing_mm[1] * _STEP**2 / 100
    areas = []
    for hu in slices:
        bodies, count = ndimage.label(hu > _AIR_BELOW_HU)
        if count:
            largest = bodies == np.bincount(bodies.ravel())[1:].argmax() + 1
            areas.append(ndimage.binary_fill_holes(largest).sum() * pixel_cm2)
    return np.array(areas or [0.0])
