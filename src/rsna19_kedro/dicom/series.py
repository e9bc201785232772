"""Choice of one stack of slices per study: axial, soft-tissue kernel, without contrast agent."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import ORIENTATION
from rsna19_kedro.ct.geometry import is_axial, valid_orientation
from rsna19_kedro.dicom.image_kind import derived_doubt
from rsna19_kedro.dicom.kernels import Kernel, kernel_of
from rsna19_kedro.dicom.series_words import Contrast, Region, contrast_of, region_of
from rsna19_kedro.dicom.stacks import SERIES
from rsna19_kedro.errors import counted

STACK: Final = [*SERIES, "stack"]
SERIES_COLUMNS: Final = (
    *(*STACK, "slices", "distance_mm", "description", "kernel"),
    *("picked", "reason"),
)

_NOT_HEAD_MM: Final = 350.0
_USUAL_DISTANCE_MM: Final = 5.0
_HEAD_MM: Final = 140.0
"""Length of the head that a complete examination covers at least."""
_WHOLE: Final = 0.6
_GAP: Final = 1.8
_FEW: Final = 8
_TEXTS: Final = [
    *("description", "kernel", "body_part", "contrast_agent", "protocol", "study_description"),
    *("image_type", "burned_in_annotation"),
]
# Penalties, by how much each fault misleads the models.
_INCOMPLETE, _DOUBTFUL_CONTRAST, _SHARP_KERNEL, _DOUBTFUL, _MEDIUM_KERNEL = 8.0, 4.0, 2.0, 1.0, 0.5


def pick_series(
    slices: pd.DataFrame, *, needs_geometry: bool, refused: Mapping[int, str]
) -> pd.DataFrame:
    """Pick one stack per study.

    Args:
        slices: Usable rows of ``headers_table``, with ``stack`` (see ``split_stacks``).
        needs_geometry: Whether a stack must be axial and no longer than a head.
        refused: By row of the result: why the pixels of the stack cannot be used.

    Returns:
        One row per stack, ``SERIES_COLUMNS``; ``reason`` says why it is picked or not.
    """
    table = _measured(slices)
    rows = [_assess(row, needs_geometry) for row in table.to_dict("records")]
    assessed = pd.DataFrame(rows, index=table.index, columns=["refusal", "remarks", "penalty"])
    table = table.join(assessed).astype({"penalty": "float64"})
    for number, reason in refused.items():
        table.loc[number, "refusal"] = reason
    _penalise_incomplete(table)
    table["off"] = np.abs(np.log(table["distance_mm"] / _USUAL_DISTANCE_MM)).round(2).fillna(9.0)
    return _picked(table)[list(SERIES_COLUMNS)]


def _measured(slices: pd.DataFrame) -> pd.DataFrame:
    """Return the extent, slice distances and texts of each stack."""
    stack = slices.groupby(STACK, dropna=False, sort=True).ngroup()
    first = slices.assign(number=stack)[~stack.duplicated()].set_index("number").sort_index()
    orientation = slices[ORIENTATION].to_numpy(dtype=float)
    valid = pd.Series(valid_orientation(orientation), index=slices.index)
    axial = pd.Series(is_axial(orientation), index=slices.index)
    heights = pd.DataFrame({"stack": stack, "z": slices["position_z"].round(2)})
    heights = heights.dropna().drop_duplicates().sort_values(["stack", "z"], kind="stable")
    by_stack = heights.groupby("stack")["z"]
    gaps = by_stack.diff().groupby(heights["stack"])
    texts = first[_TEXTS].astype(object)
    return first[STACK].assign(
        slices=stack.value_counts(),
        valid=valid.groupby(stack).sum(),
        axial=axial.groupby(stack).sum(),
        contrast_volume_ml=slices["contrast_volume_ml"].groupby(stack).max(),
        extent_mm=by_stack.max() - by_stack.min(),
        distance_mm=gaps.median(),
        largest_mm=gaps.max(),
        **{name: texts[name].where(texts[name].notna(), "") for name in _TEXTS},
    )


def _assess(stack: dict[str, Any], needs_geometry: bool) -> tuple[str, str, float]:
    """Decide from the headers whether a stack can be used.

    Returns:
        Why it cannot be used (empty if it can); remarks for the user; its penalty, 0 for a plain
        soft-tissue stack.
    """
    others = (stack["protocol"], stack["study_description"])
    volume_ml = stack["contrast_volume_ml"]
    contrast = contrast_of(
        stack["contrast_agent"],
        None if np.isnan(volume_ml) else float(volume_ml),
        stack["description"],
        others,
    )
    region = region_of(stack["body_part"], stack["description"], others)
    kernel = kernel_of(stack["kernel"], stack["description"])
    refusal = _geometry_refusal(stack) if needs_geometry else ""
    if not refusal and region is Region.OTHER:
        refusal = region.value
    if not refusal and contrast is Contrast.GIVEN:
        refusal = contrast.value
    remarks, penalty = [], 0.0
    if contrast is Contrast.DOUBTFUL:
        remarks.append(f"{contrast.value}, which looks like blood")
        penalty += _DOUBTFUL_CONTRAST
    if region is Region.DOUBTFUL:
        remarks.append(region.value)
        penalty += _DOUBTFUL
    derived = derived_doubt(stack["image_type"], stack["burned_in_annotation"])
    if derived:
        remarks.append(derived)
        penalty += _DOUBTFUL
    if kernel is Kernel.SHARP:
        remarks.append("a bone kernel, noisier than the training images")
        penalty += _SHARP_KERNEL
    elif kernel is Kernel.MEDIUM:
        penalty += _MEDIUM_KERNEL
    gap = stack["largest_mm"] / stack["distance_mm"]  # NaN for a single slice.
    if gap > _GAP:
        remarks.append(f"its largest slice distance is {gap:.1f} times the median: gaps?")
    if stack["slices"] < _FEW:
        remarks.append(f"only {counted(stack['slices'], 'slice')}")
    return refusal, "; ".join(remarks), penalty


def _geometry_refusal(stack: dict[str, Any]) -> str:
    if not stack["valid"]:
        return "no orientation in its headers"
    if not stack["axial"]:
        return "not axial"
    if stack["axial"] < stack["valid"]:
        return "its slices have several orientations"
    if stack["extent_mm"] > _NOT_HEAD_MM:
        return f"{stack['extent_mm']:.0f} mm long, too long for a head"
    return ""


def _penalise_incomplete(table: pd.DataFrame) -> None:
    """Penalise stacks that show only a part of the head."""
    usable = table["extent_mm"].where(table["refusal"] == "").fillna(0.0)
    longest = usable.groupby(table["study_id"], dropna=False).transform("max")
    incomplete = usable < _WHOLE * longest.clip(upper=_HEAD_MM)
    table.loc[incomplete, "penalty"] += _INCOMPLETE


def _picked(table: pd.DataFrame) -> pd.DataFrame:
    """Add ``picked`` and ``reason``."""
    fit = table[table["refusal"] == ""].sort_values(
        ["study_id", "penalty", "off", "slices", "series_instance_uid", "stack"],
        ascending=[True, True, True, False, True, True],
        kind="stable",
    )
    picked = table.index.isin(fit.drop_duplicates("study_id").index)
    several = table["study_id"].isin(fit.loc[fit["study_id"].duplicated(), "study_id"])
    rows = zip(table.to_dict("records"), picked, several, strict=True)
    return table.assign(picked=picked, reason=[_reason(*row) for row in rows])


def _reason(stack: dict[str, Any], picked: bool, several: bool) -> str:
    remarks = f" ({stack['remarks']})" if stack["remarks"] else ""
    if stack["refusal"]:
        return f"not used: {stack['refusal']}"
    if not picked:
        return f"not used: another series or stack of the study is better{remarks}"
    why = "the best of its axial series" if several else "the only axial head series"
    if kernel_of(stack["kernel"], stack["description"]) is Kernel.SOFT:
        why += ": soft-tissue kernel"
    if np.isfinite(stack["distance_mm"]):
        why += f", {stack['distance_mm']:.1f} mm apart"
    return f"used, {why}{remarks}"
