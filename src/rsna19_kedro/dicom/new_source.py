"""From whatever a user points at to prepared volumes, with an account of what was left out."""

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom

from rsna19_kedro.contracts import POSITION
from rsna19_kedro.ct.nifti import read_nifti
from rsna19_kedro.ct.study_volume import ALIGNED
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.headers import read_headers
from rsna19_kedro.dicom.series import SERIES, pick_series
from rsna19_kedro.dicom.slice_index import headers_table, is_truncated, number_slices
from rsna19_kedro.dicom.sources import MAX_UNPACKED_BYTES, Source, opened
from rsna19_kedro.dicom.studies import prepare_study
from rsna19_kedro.errors import InputError, SourceError, counted
from rsna19_kedro.parallel import map_in_processes

logger = logging.getLogger(__name__)

NIFTI_SERIES = "NIfTI file"
NewStudies = tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]

PLACE = ("row_shifts_px", "col_shifts_px", "crop_row", "crop_col")
"""What is kept of a volume's record: where its images lie in it."""
CROP_PX = 400
"""Side of prepared slices, as in training."""
_WORTH_PROCESSES = 6
"""Studies from which on several processes prepare them: starting those takes a second."""


def prepare_new_studies(
    path: Path,
    store: VolumeStore,
    *,
    crop_size_px: int = CROP_PX,
    max_unpacked_bytes: int = MAX_UNPACKED_BYTES,
    include_phi: bool = False,
) -> NewStudies:
    """Prepare every study of a source.

    Args:
        path: See ``sources.opened``.
        store: Where the volumes go.
        crop_size_px: Side of the prepared slices.
        max_unpacked_bytes: A zip file that unpacks to more is refused.
        include_phi: Whether to keep names and numbers of patients, and descriptions of series:
            free text that may name a patient.

    Returns:
        ``study_id``, ``slice_num``, ``sop_instance_uid`` of the prepared slices; the series,
        see ``pick_series``; and the findings: ``files``, ``problems`` (count by reason),
        ``failed`` (reason by study), ``predicted``, ``patients``, ``remarks`` (by study).

    Raises:
        SourceError: Nothing in it can be predicted; the message says what was found.
    """
    with opened(path, max_unpacked_bytes) as source:
        if source.nifti:
            slices, series, findings = _nifti(source, store, crop_size_px)
        else:
            slices, series, findings = _dicom(source, store, crop_size_px, include_phi)
    return slices, series if include_phi else series.assign(description=""), findings


def _nifti(source: Source, store: VolumeStore, crop_size_px: int) -> NewStudies:
    (name,) = source.files
    volume = read_nifti(source.root / name, crop_size_px)
    store.write("nifti", volume, {})
    slices = pd.DataFrame(
        {"study_id": "nifti", "slice_num": np.arange(len(volume)), "sop_instance_uid": ""}
    )
    series = pd.DataFrame(
        [
            {
                **dict.fromkeys(SERIES, "nifti"),
                **{"slices": len(volume), "distance_mm": np.nan, "description": NIFTI_SERIES},
                **{"kernel": "", "picked": True, "reason": "used, a NIfTI file is taken as it is"},
            }
        ]
    )
    nothing: dict[str, Any] = {name: {} for name in ("problems", "failed", "patients", "remarks")}
    return slices, series, {"files": 1, "predicted": 1, **nothing}


@dataclass(frozen=True)
class _NewStudy:
    """What became of a study: its slices, or why there are none."""

    study_id: str
    failed: str | None = None
    slices: pd.DataFrame | None = None
    remarks: list[str] = field(default_factory=list)
    patient: str | None = None


def _dicom(source: Source, store: VolumeStore, crop_size_px: int, include_phi: bool) -> NewStudies:
    rows = read_headers(source.root, source.files)
    headers = headers_table([{**row, "subset": "test2"} for row in rows])
    series = pick_series(headers, source.root)
    studies = [
        (own, series[series["study_id"] == study_id])
        for study_id, own in headers.groupby("study_id", sort=False)
    ]
    prepare = partial(_prepare, source.root, store, crop_size_px, include_phi)
    if len(studies) < _WORTH_PROCESSES:
        outcomes = [prepare(study) for study in studies]
    else:
        outcomes = list(map_in_processes(prepare, studies, description="Preparing studies"))
    ready = [one for one in outcomes if one.slices is not None]
    # Files that are no usable slice, by what is wrong with them; no file is named.
    wrong = headers.loc[headers["problem"].notna() & ~is_truncated(headers), "problem"]
    problems = wrong.str.split(":").str[0].value_counts()
    findings = {
        "files": len(rows),
        "problems": {str(reason): int(count) for reason, count in problems.items()},
        "failed": {one.study_id: one.failed for one in outcomes if one.failed is not None},
        "predicted": len(ready),
        "patients": {one.study_id: one.patient for one in ready if one.patient is not None},
        "remarks": {one.study_id: one.remarks for one in ready},
    }
    if not ready:
        raise SourceError(_nothing(findings))
    return pd.concat([one.slices for one in ready], ignore_index=True), series, findings


def _prepare(
    root: Path,
    store: VolumeStore,
    crop_size_px: int,
    include_phi: bool,
    study: tuple[pd.DataFrame, pd.DataFrame],
) -> _NewStudy:
    """Prepare the picked series of a study, given its headers and its series, and store it."""
    own, series = study
    study_id = str(own["study_id"].iloc[0])
    picked = series[series["picked"]]
    if picked.empty:
        return _NewStudy(study_id, _why_none(own, series))
    uid = picked.iloc[0]["series_instance_uid"]
    chosen = own["series_instance_uid"].eq(uid) if isinstance(uid, str) else own[SERIES[1]].isna()
    slices = number_slices(own[chosen])
    slices = slices[slices["slice_num"].notna()].astype({"slice_num": int})
    try:
        volume, record = prepare_study(slices, root, crop_size_px)
    except InputError as error:
        return _NewStudy(study_id, _without_names(str(error), root, own["path"]))
    store.write(study_id, volume, {"record": {name: asdict(record)[name] for name in PLACE}})
    return _NewStudy(
        study_id,
        slices=slices[["study_id", "slice_num", "sop_instance_uid"]],
        remarks=_remarks(record.alignment, record.repaired, own[chosen], slices),
        patient=_patient(root / str(slices["path"].iloc[0])) if include_phi else None,
    )


def _without_names(message: str, root: Path, paths: Iterable[str]) -> str:
    """A message that names no file: folders are often called after patients."""
    for path in paths:
        message = message.replace(f"{root / path}", "a file").replace(path, "a file")
    return message.replace(str(root), "the source")


def _why_none(own: pd.DataFrame, series: pd.DataFrame) -> str:
    if len(series):
        reasons = series["reason"].str.removeprefix("not used: ").unique()
        return "no series fits: " + "; ".join(reasons)
    problems = own["problem"].dropna().str.split(" of ").str[0].unique()
    return "no usable slice: " + "; ".join(problems[:3])


def _remarks(
    alignment: str, repaired: list[int], own: pd.DataFrame, slices: pd.DataFrame
) -> list[str]:
    found = []
    if alignment != ALIGNED:
        found.append(f"stacked as it came ({alignment})")
    if repaired:
        shown = ", ".join(map(str, repaired))
        found.append(f"damaged slices, replaced by their neighbours: {shown}")
    same = int(slices.duplicated(POSITION).sum())
    if same and slices[POSITION].notna().all(axis=None):
        found.append(
            f"{same} of its {len(slices)} images lie at the position of another: copies, or a "
            "series in time rather than a stack of slices? Look at them before you trust it"
        )
    twice = len(own) - len(slices)
    if twice:
        found.append(f"{twice} more files of this series were left out (duplicates or damaged)")
    return found


def _patient(path: Path) -> str:
    header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    parts = (str(header.get("PatientName", "")), str(header.get("PatientID", "")))
    return " ".join(part for part in parts if part)


def _nothing(findings: dict[str, Any]) -> str:
    found = [f"{count} files: {reason}" for reason, count in findings["problems"].items()]
    found += [f"a study: {reason}" for reason in dict.fromkeys(findings["failed"].values())]
    return (
        f"Nothing in the source can be predicted. Of {findings['files']} files: "
        f"{'; '.join(found)}. "
        "Wanted are axial CT slices of a head without contrast agent, as DICOM."
    )


def study_titles(predicted: Iterable[str], findings: dict[str, Any]) -> dict[str, str]:
    """What studies are called in the log, the report and the tables: ``Study 1``, ``Study 2``.

    Args:
        predicted: Studies in the order of the tables; those that failed come after them.
        findings: See ``prepare_new_studies``.
    """
    names = [*predicted, *findings["failed"]]
    return {name: f"Study {number}" for number, name in enumerate(names, 1)}


def series_text(row: pd.Series) -> str:
    """Describe a series, a row of ``pick_series``, in words."""
    parts = [str(row["description"])] if row["description"] else []
    parts.append(counted(row["slices"], "slice"))
    if np.isfinite(row["distance_mm"]):
        parts.append(f"{row['distance_mm']:.1f} mm apart")
    if row["kernel"]:
        parts.append(f"kernel {row['kernel']}")
    return ", ".join(parts)


def log_new_studies(slices: pd.DataFrame, series: pd.DataFrame, findings: dict[str, Any]) -> None:
    """Log which series were picked and what was left out; see ``prepare_new_studies``."""
    titles = study_titles(slices["study_id"].unique(), findings)
    for _, row in series.iterrows():
        title = titles.get(row["study_id"], "No study")
        logger.info("%s: %s: %s", title, series_text(row), row["reason"])
    for reason, count in findings["problems"].items():
        logger.warning("%s left out: %s", counted(count, "file"), reason)
    for name, remarks in findings["remarks"].items():
        for remark in remarks:
            logger.warning("%s: %s", titles[name], remark)
    for name, reason in findings["failed"].items():
        logger.warning("%s (%s) cannot be predicted: %s", titles[name], name, reason)
