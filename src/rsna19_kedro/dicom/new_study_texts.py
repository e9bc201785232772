"""What may be said of a new study: with or without what names the patient."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from rsna19_kedro.contracts import POSITION
from rsna19_kedro.ct.slabs import THIN_MM
from rsna19_kedro.ct.study_volume import ALIGNED, VolumeRecord
from rsna19_kedro.ct.turning import FLIPPED_COLS, FLIPPED_ROWS, TRANSPOSED
from rsna19_kedro.dicom.headers import TRUNCATED
from rsna19_kedro.dicom.parsing import parse
from rsna19_kedro.dicom.phi import (
    PERSON_ATTRIBUTES,
    date_of,
    identifying_words,
    text_of,
    without_words,
)
from rsna19_kedro.errors import counted

_PIXEL_MM = (0.35, 0.7)
"""Pixel sizes that the challenge's data have."""
_DISTANCE_MM = 8.0

_NAMED = [*PERSON_ATTRIBUTES, "StudyDate", "SeriesDescription", "SpecificCharacterSet"]


@dataclass(frozen=True)
class StudyTexts:
    """What is told of one study.

    Attributes:
        record: ``number``, ``study_id`` (StudyInstanceUID), ``study_date``,
            ``series_description`` and, if asked for, ``patient_name``, ``patient_id``, ``path``.
        hidden: Words that are taken out of other texts.
    """

    record: dict[str, Any]
    hidden: frozenset[str]

    @classmethod
    def of(cls, root: Path, own: pd.DataFrame, series: pd.DataFrame, include_phi: bool) -> Self:
        """Read them from a file of the study's picked series, or from any other.

        Args:
            root: Folder that ``path`` is relative to.
            own: Rows of ``headers_table`` of the study.
            series: Its rows of ``pick_series``.
            include_phi: Whether the patient may be named.
        """
        picked = series.loc[series["picked"], "series_instance_uid"]
        of_series = own[own["series_instance_uid"].isin(picked)]
        paths = (of_series if len(of_series) else own)["path"].tolist()
        header = _header(root / paths[0])
        hidden = frozenset() if include_phi else identifying_words(header, own["path"])
        record = {
            "number": int(own["study_number"].iloc[0]),
            "study_id": str(own["study_instance_uid"].iloc[0]),
            "study_date": date_of(header, "StudyDate"),
            "series_description": without_words(text_of(header, "SeriesDescription"), hidden),
        }
        if include_phi:
            record |= {
                "patient_name": text_of(header, "PatientName"),
                "patient_id": text_of(header, "PatientID"),
                "path": os.path.commonpath(paths),
            }
        return cls(record, frozenset(hidden))

    def shown(self, text: str) -> str:
        """A text without the words that are hidden."""
        return without_words(text, self.hidden)


def patient_key(path: Path) -> str:
    """What tells patients without PatientID apart: name and date of birth."""
    header = _header(path)
    return f"{text_of(header, 'PatientName').lower()} {text_of(header, 'PatientBirthDate')}"


def title(study: dict[str, Any]) -> str:
    """What a study is called in the log, the page and the tables.

    Args:
        study: A record of ``NewStudies.findings``.
    """
    person = " ".join(filter(None, [study.get("patient_name"), study.get("patient_id")]))
    return f"Study {study['number']}" + (f", {person}" if person else "")


def series_text(row: pd.Series) -> str:
    """Describe a series, a row of ``pick_series``, in words."""
    parts = [str(row["description"])] if row["description"] else []
    parts.append(counted(row["slices"], "slice"))
    if np.isfinite(row["distance_mm"]):
        parts.append(f"{row['distance_mm']:.1f} mm apart")
    if row["kernel"]:
        parts.append(f"kernel {row['kernel']}")
    return ", ".join(parts)


def why_none(own: pd.DataFrame, series: pd.DataFrame) -> str:
    """Why no series of a study can be predicted, given its headers and its series."""
    if len(series):
        reasons = series["reason"].str.removeprefix("not used: ").unique()
        return "no series fits: " + "; ".join(reasons)
    problems = own["problem"].dropna().str.split(" of ").str[0].unique()
    return "no usable slice: " + "; ".join(problems[:3])


def remarks_on(
    record: VolumeRecord, per_slab: int, own: pd.DataFrame, slices: pd.DataFrame
) -> list[str]:
    """List what a person should know of a prepared study.

    Args:
        record: Of its volume.
        per_slab: See ``slabs.slices_per_slab``.
        own: Rows of ``choose_slices`` of the study.
        slices: Those of them that were prepared.
    """
    remarks = []
    if record.alignment != ALIGNED:
        remarks.append(f"stacked as it came ({record.alignment})")
    if slices["turn"].any():
        remarks.append(_turned(int(slices["turn"].iloc[len(slices) // 2])))
    if record.repaired:
        shown = ", ".join(map(str, record.repaired))
        remarks.append(f"damaged slices, replaced by their neighbours: {shown}")
    if record.implausible:
        shown = ", ".join(map(str, record.implausible))
        remarks.append(f"slices whose values cannot be HU, damaged or of another kind: {shown}")
    remarks += unlike_training(record, per_slab)
    same = int(slices.duplicated(POSITION).sum())
    if same and slices[POSITION].notna().all(axis=None):
        remarks.append(
            f"{same} of its {len(slices)} images lie at the position of another: copies, or a "
            "series in time rather than a stack of slices? Look at them before you trust it"
        )
    shared = int(slices.duplicated("sop_instance_uid").sum())
    if shared:
        remarks.append(
            f"{shared} of its {len(slices)} images have the SOPInstanceUID of another one: their "
            "slice numbers, not their UIDs, say which is which"
        )
    series = slices["series_instance_uid"].iloc[0]
    of_series = own["series_instance_uid"]
    same_series = own[of_series.eq(series) if isinstance(series, str) else of_series.isna()]
    problems = same_series["problem"].dropna()
    for reason in problems[problems.str.startswith("set aside")].unique():
        count = int((problems == reason).sum())
        remarks.append(f"{counted(count, 'image')} {reason}")
    stacked = problems[~problems.str.startswith(("set aside", TRUNCATED))]
    if len(stacked):
        kinds = "; ".join(dict.fromkeys(stacked.str.split(" of ").str[0]))
        remarks.append(f"{counted(len(stacked), 'more file')} of this series left out: {kinds}")
    return remarks


def _turned(turn: int) -> str:
    if turn == FLIPPED_ROWS | FLIPPED_COLS:
        how = "turned by 180 degrees, as a patient lying prone"
    elif turn & TRANSPOSED:
        how = "turned by 90 degrees, as a patient lying on the side"
    else:
        how = "mirrored"
    return (
        f"its images are {how}: turned for the models as in a supine head-first scan; results "
        "lie on the images as they are in the files"
    )


def unlike_training(record: VolumeRecord, per_slab: int) -> list[str]:
    """List spacings that are far from those of the challenge's data."""
    remarks = []
    pixel_mm, distance_mm = record.row_spacing_mm, record.slice_distance_mm
    if pixel_mm < _PIXEL_MM[0] or pixel_mm > _PIXEL_MM[1]:
        remarks.append(
            f"its pixels of {pixel_mm:.2f} mm are unlike those of training "
            f"({_PIXEL_MM[0]} to {_PIXEL_MM[1]} mm): less reliable"
        )
    if per_slab > 1:
        remarks.append(
            f"thin slices, {distance_mm:.2g} mm apart: averaged by {per_slab} for prediction; each "
            "slice has the probability of its slab"
        )
    elif distance_mm <= THIN_MM:
        remarks.append(
            f"thin slices, {distance_mm:.2g} mm apart, not averaged: less reliable, since models "
            "look at neighbouring slices about 5 mm apart"
        )
    if distance_mm > _DISTANCE_MM:
        remarks.append(
            f"its slices are {distance_mm:.1f} mm apart, more than in training (up to about "
            f"{_DISTANCE_MM:.0f} mm): less reliable"
        )
    return remarks


def nothing_to_predict(findings: dict[str, Any]) -> str:
    """What was found in a source without a study that can be predicted; see ``NewStudies``."""
    reasons = [f"{counted(n, 'file')}: {reason}" for reason, n in findings["problems"].items()]
    failed = dict.fromkeys(study["failed"] for study in findings["studies"])
    reasons += [f"a study: {reason}" for reason in failed]
    reasons += [f"{name}: {reason}" for name, reason in findings["refused"].items()]
    return (
        f"Nothing in the source can be predicted. {counted(findings['files'], 'file')} read: "
        f"{'; '.join(reasons)}. "
        "Wanted are axial CT slices of a head without contrast agent, as DICOM."
    )


def _header(path: Path) -> Dataset:
    try:
        parsed, _ = parse(path, [Tag(name) for name in _NAMED])
    except OSError:
        return Dataset()
    return Dataset() if isinstance(parsed, str) else parsed.header  # The problem is said elsewhere.
