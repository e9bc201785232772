"""Which series of a new study to predict: the axial soft-tissue head series, and why."""

import re
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pydicom

from rsna19_kedro.contracts import ORIENTATION
from rsna19_kedro.ct.geometry import is_axial, valid_orientation
from rsna19_kedro.errors import counted

SERIES: Final = ("study_id", "series_instance_uid")

_DETAILS: Final = (
    "SeriesDescription",
    "ConvolutionKernel",
    "ContrastBolusAgent",
    "BodyPartExamined",
)
_SHARP: Final = re.compile(
    r"bone|lung|sharp|edge|detail|inner.?ear|^yc|^[hbju][rlcf]?[67]\d|^fc[38]\d|knochen", re.I
)
_BODY: Final = re.compile(r"chest|thorax|lung|abdo|pelvi|spine|neck|foot|knee|hip|shoulder", re.I)
_CONTRAST: Final = re.compile(r"contrast|angio|\bcta?\b.*\bw(ith)?\b|perfusion|venous|\bkm\b", re.I)
_NOT_HEAD_MM: Final = 350.0
_USUAL_DISTANCE_MM: Final = 5.0


def pick_series(headers: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Pick a series a study.

    Args:
        headers: Table of ``slice_index.headers_table``.
        root: Folder that ``path`` is relative to.

    Returns:
        One row a series that has usable slices: ``SERIES``, ``slices``, ``distance_mm``,
        ``description``, ``kernel``, ``picked`` and ``reason`` (why, or why not).
    """
    usable = headers[headers["problem"].isna()]
    rows = []
    for key, slices in usable.groupby(list(SERIES), dropna=False, sort=True):
        details = _details(root / str(slices["path"].iloc[0]))
        rows.append(
            {
                **dict(zip(SERIES, key, strict=True)),
                "slices": int(slices["sop_instance_uid"].nunique()),
                "description": details["SeriesDescription"],
                "kernel": details["ConvolutionKernel"],
                **_assess(slices, details),
            }
        )
    columns = [*SERIES, "slices", "distance_mm", "description", "kernel"]
    return _picked(pd.DataFrame(rows, columns=[*columns, "refusal", "remarks", "rank"]))


def _assess(slices: pd.DataFrame, details: dict[str, str]) -> dict[str, Any]:
    """Decide from its headers whether a series can be used.

    Args:
        slices: Rows of the table of headers.
        details: Description, kernel, contrast agent and body part of its first file.

    Returns:
        ``distance_mm``; ``refusal``, why it cannot be used, or empty; ``remarks``, what a person
        should know of it; ``rank``: of the usable series of a study the lowest is picked.
    """
    extent_mm, distance_mm, gap = _distances(slices)
    text = f"{details['SeriesDescription']} {details['BodyPartExamined']}"
    orientation = slices[ORIENTATION].to_numpy(dtype=float)
    valid = valid_orientation(orientation)
    axial = is_axial(orientation[valid])
    refusal = ""
    if valid.any() and not axial.all():
        refusal = "not axial" if not axial.any() else "its slices have several orientations"
    elif not valid.any():
        refusal = "no orientation in its headers"
    elif _BODY.search(text):
        refusal = "not a head, by its body part or description"
    elif extent_mm > _NOT_HEAD_MM:
        refusal = f"{extent_mm:.0f} mm long, too long for a head"
    elif details["ContrastBolusAgent"] or _CONTRAST.search(details["SeriesDescription"]):
        refusal = "with contrast agent, which looks like blood"
    names = (details["ConvolutionKernel"], details["SeriesDescription"])
    sharp = any(_SHARP.search(name) for name in names)
    remarks = []
    if sharp:
        remarks.append("a sharp kernel: noisier than what the models know")
    if gap > 1.8:
        remarks.append(f"its largest distance of slices is {gap:.1f} times the median: gaps?")
    if len(slices) < 8:
        remarks.append(f"only {counted(len(slices), 'slice')}")
    off = abs(np.log(distance_mm / _USUAL_DISTANCE_MM)) if np.isfinite(distance_mm) else 9.0
    return {
        "distance_mm": distance_mm,
        "refusal": refusal,
        "remarks": "; ".join(remarks),
        "rank": (float(sharp), round(float(off), 2), -len(slices)),
    }


def _picked(table: pd.DataFrame) -> pd.DataFrame:
    """Add ``picked`` and ``reason``."""
    picked, reason = [], dict[int, str]()
    for _, series in table.groupby("study_id", sort=False, dropna=False):
        fit = series[series["refusal"] == ""].sort_values(["rank", "series_instance_uid"])
        for number, row in series.iterrows():
            reason[number] = f"not used: {row['refusal']}"
        if fit.empty:
            continue
        best = fit.index[0]
        picked.append(best)
        why = "the only axial head series" if len(fit) == 1 else "the best of its axial series"
        why += ": soft kernel" if not fit.loc[best, "rank"][0] else ""
        if np.isfinite(fit.loc[best, "distance_mm"]):
            why += f", {fit.loc[best, 'distance_mm']:.1f} mm apart"
        remarks = fit.loc[best, "remarks"]
        reason[best] = f"used, {why}" + (f" ({remarks})" if remarks else "")
        for number in fit.index[1:]:
            reason[number] = "not used: another series of the study fits better"
            if fit.loc[number, "rank"][0]:
                reason[number] += " (this one has a sharp kernel)"
    table = table.assign(picked=table.index.isin(picked))
    table["reason"] = [reason[number] for number in table.index]
    return table.drop(columns=["refusal", "remarks", "rank"])


def _distances(slices: pd.DataFrame) -> tuple[float, float, float]:
    """Extent and median slice distance along z in mm; largest distance over the median."""
    z = slices["position_z"].to_numpy(dtype=float)
    z = np.unique(z[np.isfinite(z)].round(2))
    gaps = np.diff(z)
    if not len(gaps):
        return 0.0, float("nan"), 1.0
    median = np.median(gaps)
    return float(np.ptp(z)), float(median), float(gaps.max() / median)


def _details(path: Path) -> dict[str, str]:
    header = pydicom.dcmread(
        path, stop_before_pixels=True, force=True, specific_tags=list(_DETAILS)
    )
    return {name: str(header.get(name, "") or "").strip() for name in _DETAILS}
