"""Which series of a new study to predict: the axial soft-tissue head series, and why."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

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


@dataclass(frozen=True)
class Judged:
    """A series and whether it can be used.

    Attributes:
        refusal: Why it cannot; empty if it can.
        remarks: What a person should know of it.
        rank: The lower, the rather it is picked among the usable ones of its study.
    """

    refusal: str
    remarks: tuple[str, ...]
    rank: tuple[float, ...]


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
        judged = judge_series(slices, details)
        rows.append(
            {
                **dict(zip(SERIES, key, strict=True)),
                "slices": int(slices["sop_instance_uid"].nunique()),
                "distance_mm": _distance_mm(slices),
                "description": details["SeriesDescription"],
                "kernel": details["ConvolutionKernel"],
                "refusal": judged.refusal,
                "remarks": "; ".join(judged.remarks),
                "rank": judged.rank,
            }
        )
    table = pd.DataFrame(
        rows,
        columns=[
            *(*SERIES, "slices", "distance_mm", "description", "kernel"),
            *("refusal", "remarks", "rank"),
        ],
    )
    return _picked(table)


def judge_series(slices: pd.DataFrame, details: dict[str, str]) -> Judged:
    """Judge a series by its headers.

    Args:
        slices: Rows of the table of headers.
        details: Description, kernel, contrast agent and body part of its first file.
    """
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
    elif _extent_mm(slices) > _NOT_HEAD_MM:
        refusal = f"{_extent_mm(slices):.0f} mm long, too long for a head"
    elif details["ContrastBolusAgent"] or _CONTRAST.search(details["SeriesDescription"]):
        refusal = "with contrast agent, which looks like blood"
    sharp = bool(_SHARP.search(f"{details['ConvolutionKernel']}")) or bool(
        _SHARP.search(details["SeriesDescription"])
    )
    distance = _distance_mm(slices)
    remarks = []
    if sharp:
        remarks.append("a sharp kernel: noisier than what the models know")
    gap = _largest_gap(slices)
    if gap > 1.8:
        remarks.append(f"its largest distance of slices is {gap:.1f} times the median: gaps?")
    if len(slices) < 8:
        remarks.append(f"only {counted(len(slices), 'slice')}")
    off = abs(np.log(distance / _USUAL_DISTANCE_MM)) if np.isfinite(distance) else 9.0
    return Judged(refusal, tuple(remarks), (float(sharp), round(float(off), 2), -len(slices)))


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


def _positions_mm(slices: pd.DataFrame) -> np.ndarray:
    """Different positions of the slices along z, sorted."""
    z = slices["position_z"].to_numpy(dtype=float)
    return np.unique(z[np.isfinite(z)].round(2))


def _extent_mm(slices: pd.DataFrame) -> float:
    z = _positions_mm(slices)
    return float(np.ptp(z)) if len(z) else 0.0


def _distance_mm(slices: pd.DataFrame) -> float:
    gaps = np.diff(_positions_mm(slices))
    return float(np.median(gaps)) if len(gaps) else float("nan")


def _largest_gap(slices: pd.DataFrame) -> float:
    gaps = np.diff(_positions_mm(slices))
    return float(gaps.max() / np.median(gaps)) if len(gaps) else 1.0


def _details(path: Path) -> dict[str, str]:
    header = pydicom.dcmread(
        path, stop_before_pixels=True, force=True, specific_tags=list(_DETAILS)
    )
    return {name: str(header.get(name, "") or "").strip() for name in _DETAILS}
