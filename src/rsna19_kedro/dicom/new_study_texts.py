"""Texts about a new study, with or without data that identify the patient."""

import logging
import os
from collections.abc import Iterable
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

logger = logging.getLogger(__name__)

_PIXEL_MM = (0.35, 0.7)
"""Range of pixel sizes in the challenge's data."""
_DISTANCE_MM = 8.0

_NAMED = [*PERSON_ATTRIBUTES, "StudyDate", "SeriesDescription", "SpecificCharacterSet"]


@dataclass(frozen=True)
class StudyTexts:
    """Description of one study.

    Attributes:
        record: ``number``, ``study_id`` (StudyInstanceUID), ``study_date``,
            ``series_description`` and, if asked for, ``patient_name``, ``patient_id``, ``path``.
        hidden: Words that are removed from other texts.
    """

    record: dict[str, Any]
    hidden: frozenset[str]

    @classmethod
    def of(cls, root: Path, headers: pd.DataFrame, series: pd.DataFrame, include_phi: bool) -> Self:
        """Read the texts from a file of the study's picked series, if any, else from any file.

        Args:
            root: Folder that ``path`` is relative to.
            headers: Rows of ``headers_table`` of the study.
            series: Rows of ``pick_series`` of the study.
            include_phi: Whether to include the patient's name, ID and path.
        """
        picked = series.loc[series["picked"], "series_instance_uid"]
        of_series = headers[headers["series_instance_uid"].isin(picked)]
        paths = (of_series if len(of_series) else headers)["path"].tolist()
        header = _header(root / paths[0])
        hidden = frozenset() if include_phi else identifying_words(header, headers["path"])
        record = {
            "number": int(headers["study_number"].iloc[0]),
            "study_id": str(headers["study_instance_uid"].iloc[0]),
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
        """Return a text without the hidden words."""
        return without_words(text, self.hidden)


def patient_key(path: Path) -> str:
    """Return the name and birth date, which distinguish patients without PatientID."""
    header = _header(path)
    return f"{text_of(header, 'PatientName').lower()} {text_of(header, 'PatientBirthDate')}"


def title(study: dict[str, Any]) -> str:
    """Return the name of a study in the log, on the page and in the tables.

    Args:
        study: A record of ``NewStudies.findings``.
    """
    person = " ".join(filter(None, [study.get("patient_name"), study.get("patient_id")]))
    return f"Study {study['number']}" + (f", {person}" if person else "")


def series_text(row: pd.Series) -> str:
    """Describe a series (a row of ``pick_series``) in words."""
    parts = [str(row["description"])] if row["description"] else []
    parts.append(counted(row["slices"], "slice"))
    if np.isfinite(row["distance_mm"]):
        parts.append(f"{row['distance_mm']:.1f} mm apart")
    if row["kernel"]:
        parts.append(f"kernel {row['kernel']}")
    return ", ".join(parts)


def why_none(headers: pd.DataFrame, series: pd.DataFrame) -> str:
    """Explain why no series of a study can be predicted, from its headers and series."""
    if len(series):
        reasons = series["reason"].str.removeprefix("not used: ").unique()
        return "no suitable series: " + "; ".join(reasons)
    problems = headers["problem"].dropna().str.split(" of ").str[0].unique()
    return "no usable slice: " + "; ".join(problems[:3])


def remarks_on(
    record: VolumeRecord, per_slab: int, headers: pd.DataFrame, slices: pd.DataFrame
) -> list[str]:
    """List remarks about a prepared study for the user.

    Args:
        record: Record of its volume.
        per_slab: See ``slabs.slices_per_slab``.
        headers: Rows of ``choose_slices`` of the study.
        slices: The rows that were prepared.
    """
    remarks = []
    if record.alignment != ALIGNED:
        remarks.append(f"not aligned ({record.alignment})")
    if slices["turn"].any():
        remarks.append(_turned(int(slices["turn"].iloc[len(slices) // 2])))
    if record.repaired:
        shown = ", ".join(map(str, record.repaired))
        remarks.append(f"damaged slices, replaced by their neighbours: {shown}")
    if record.implausible:
        shown = ", ".join(map(str, record.implausible))
        remarks.append(f"slices whose values cannot be HU (damaged, or not CT): {shown}")
    remarks += unlike_training(record, per_slab)
    same = int(slices.duplicated(POSITION).sum())
    if same and slices[POSITION].notna().all(axis=None):
        remarks.append(
            f"{same} of its {len(slices)} images repeat the position of another: copies, or a "
            "time series? Check the images before using the result"
        )
    shared = int(slices.duplicated("sop_instance_uid").sum())
    if shared:
        remarks.append(
            f"{shared} of its {len(slices)} images have the SOPInstanceUID of another one: "
            "identify them by slice number, not by UID"
        )
    series = slices["series_instance_uid"].iloc[0]
    of_series = headers["series_instance_uid"]
    same_series = headers[of_series.eq(series) if isinstance(series, str) else of_series.isna()]
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
        how = "turned by 180 degrees, as of a prone patient"
    elif turn & TRANSPOSED:
        how = "turned by 90 degrees, as of a patient lying on the side"
    else:
        how = "mirrored"
    return (
        f"its images are {how}: the models see them as in a supine head-first scan; results "
        "refer to the images as stored"
    )


def unlike_training(record: VolumeRecord, per_slab: int) -> list[str]:
    """List remarks about spacings outside the range of the challenge's data."""
    remarks = []
    pixel_mm, distance_mm = record.row_spacing_mm, record.slice_distance_mm
    if pixel_mm < _PIXEL_MM[0] or pixel_mm > _PIXEL_MM[1]:
        remarks.append(
            f"its pixels of {pixel_mm:.2f} mm are outside the range of the training data "
            f"({_PIXEL_MM[0]} to {_PIXEL_MM[1]} mm): less reliable"
        )
    if per_slab > 1:
        remarks.append(
            f"thin slices, {distance_mm:.2g} mm apart: averaged in slabs of {per_slab} for "
            "prediction; each slice has the probability of its slab"
        )
    elif distance_mm <= THIN_MM:
        remarks.append(
            f"thin slices, {distance_mm:.2g} mm apart, not averaged: less reliable, since the "
            "models were trained on neighbouring slices about 5 mm apart"
        )
    if distance_mm > _DISTANCE_MM:
        remarks.append(
            f"its slices are {distance_mm:.1f} mm apart, more than in the RSNA data (up to about "
            f"{_DISTANCE_MM:.0f} mm): less reliable"
        )
    return remarks


def without_paths(message: str, root: Path, paths: Iterable[str]) -> str:
    """Remove paths from a message, because folders are often named after patients."""
    for path in sorted(paths, key=len, reverse=True):
        message = message.replace(f"{root / path}", "a file").replace(path, "a file")
    return message.replace(f"{root}{os.sep}", "").replace(str(root), "the source")


def nothing_to_predict(findings: dict[str, Any], path: Path | None = None) -> str:
    """Explain why no study of a source can be predicted.

    Args:
        findings: ``NewStudies.findings``.
        path: The source, if the message may name it.
    """
    total = counted(findings["files"], "file")
    reasons = [f"{number} of {total}: {reason}" for reason, number in findings["problems"].items()]
    failed = dict.fromkeys(study["failed"] for study in findings["studies"])
    reasons += [f"a study: {reason}" for reason in failed]
    reasons += [f"{name}: {reason}" for name, reason in findings["refused"].items()]
    return (
        f"Nothing in the source{f' {path}' if path else ''} can be predicted "
        f"({'; '.join(reasons)}). Expected axial CT slices of a head without contrast agent: DICOM "
        "files, a zip file of them, or a NIfTI file in HU."
    )


def log_new_studies(series: pd.DataFrame, findings: dict[str, Any]) -> None:
    """Log which series were picked and what was left out, see ``NewStudies``."""
    for _, row in series.iterrows():
        logger.info("Study %d: %s: %s", row["study_number"], series_text(row), row["reason"])
    for reason, count in findings["problems"].items():
        logger.warning("%s left out: %s", counted(count, "file"), reason)
    for name, reason in findings["refused"].items():
        logger.warning("%s left out: %s", name, reason)
    for study in findings["studies"]:
        for remark in study["remarks"]:
            logger.warning("Study %d: %s", study["number"], remark)
        if study["failed"]:
            logger.warning(
                "Study %d (%s) cannot be predicted: %s",
                *(study["number"], study["study_id"], study["failed"]),
            )


def _header(path: Path) -> Dataset:
    try:
        parsed, _ = parse(path, [Tag(name) for name in _NAMED])
    except OSError:
        return Dataset()
    return Dataset() if isinstance(parsed, str) else parsed.header  # Reported elsewhere.
