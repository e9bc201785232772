"""From whatever a user points at to prepared volumes, with an account of what was left out."""

import logging
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from rsna19_kedro.ct.nifti import read_nifti
from rsna19_kedro.ct.plausibility import check_head
from rsna19_kedro.ct.slabs import SLAB_MM, slices_per_slab
from rsna19_kedro.ct.study_volume import VolumeRecord
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.headers import read_headers
from rsna19_kedro.dicom.new_study_texts import (
    StudyTexts,
    nothing_to_predict,
    patient_key,
    remarks_on,
    series_text,
    unlike_training,
    why_none,
)
from rsna19_kedro.dicom.result_sources import file_digest
from rsna19_kedro.dicom.series import SERIES_COLUMNS
from rsna19_kedro.dicom.slice_index import (
    choose_slices,
    headers_table,
    is_truncated,
    number_chosen,
)
from rsna19_kedro.dicom.sources import MAX_UNPACKED_BYTES, Source, opened
from rsna19_kedro.dicom.studies import prepare_study
from rsna19_kedro.errors import InputError, SourceError, counted
from rsna19_kedro.parallel import map_in_processes

logger = logging.getLogger(__name__)

NIFTI_SERIES: Final = "NIfTI file"
PLACE: Final = ("row_shifts_px", "col_shifts_px", "crop_row", "crop_col")
"""What is kept of a volume's record: where its images lie in it."""
CROP_PX: Final = 400
"""Side of prepared slices, as in training."""
SLICES: Final = (
    *("study_number", "study_id", "slice_num", "sop_instance_uid", "instance_number"),
    "position_mm",
)
_WORTH_PROCESSES: Final = 6
"""Studies from which on several processes prepare them: starting those takes a second."""


@dataclass(frozen=True)
class NewStudies:
    """What a source holds.

    Attributes:
        slices: Prepared slices, columns ``SLICES``: ``study_id`` is the StudyInstanceUID,
            ``position_mm`` that along the normal.
        series: See ``series.pick_series``, with ``study_number`` instead of ``study_id``.
        files: ``study_number``, ``slice_num``, ``path``, ``frame``, ``sha256`` and ``problem`` of
            every file, of an enhanced file of every frame; the first two are null where it
            belongs to no study or is not used. The local key from numbers to files.
        findings: ``files`` read; ``problems``, count by reason; ``refused``, why zip files
            within the source were not unpacked; ``studies``, a list by number: ``number``,
            ``study_id``, ``study_date``, ``series_description``, ``remarks``, ``failed`` (why
            it cannot be predicted, or null), and with ``include_phi`` ``patient_name``,
            ``patient_id`` and ``path``.
    """

    slices: pd.DataFrame
    series: pd.DataFrame
    files: pd.DataFrame
    findings: dict[str, Any]


def prepare_new_studies(
    path: Path,
    store: VolumeStore,
    *,
    crop_size_px: int = CROP_PX,
    slab_mm: float = SLAB_MM,
    max_unpacked_bytes: int = MAX_UNPACKED_BYTES,
    follow_links: bool = True,
    include_phi: bool = False,
) -> NewStudies:
    """Prepare every study of a source and store its volume under ``volume_name``.

    A study is what one patient has under one StudyInstanceUID. Studies are numbered from 1, in
    the order of their files.

    Args:
        path: See ``sources.opened``.
        store: Where the volumes go.
        crop_size_px: Side of the prepared slices.
        slab_mm: Thickness of the slabs that thin slices are averaged in for prediction; 0 for
            none.
        max_unpacked_bytes: Zip files that unpack to more are refused.
        follow_links: Whether links that lead out of the source are followed.
        include_phi: Whether to tell names and numbers of patients, and paths; otherwise they
            are also taken out of descriptions of series and out of errors.

    Raises:
        SourceError: Nothing in it can be predicted; the message says what was found.
    """
    with opened(path, max_unpacked_bytes, follow_links=follow_links) as source:
        if source.nifti:
            return _nifti(source, store, crop_size_px, slab_mm)
        return _dicom(source, store, crop_size_px, slab_mm, include_phi)


def volume_name(number: int) -> str:
    """Name of a study's volume, and of the folder of its DICOM results."""
    return f"study_{number}"


def _nifti(source: Source, store: VolumeStore, crop_size_px: int, slab_mm: float) -> NewStudies:
    (name,) = source.files
    head = read_nifti(source.root / name, crop_size_px)
    volume, record = head.volume, head.record
    per_slab = slices_per_slab(record.slice_distance_mm, slab_mm)
    store.write(volume_name(1), volume, {"record": _kept(record, per_slab)})
    remarks = head.remarks + unlike_training(record, per_slab)
    slices = pd.DataFrame(
        {
            **{"study_number": 1, "study_id": "nifti", "slice_num": np.arange(len(volume))},
            **{"sop_instance_uid": "", "instance_number": np.nan, "position_mm": np.nan},
        }
    ).astype({"instance_number": "Int64"})
    series = pd.DataFrame(
        [
            {
                **{"study_number": 1, "series_instance_uid": "nifti", "stack": 1},
                **{"slices": len(volume)},
                **{
                    "distance_mm": record.slice_distance_mm,
                    "description": NIFTI_SERIES,
                    "kernel": "",
                },
                **{"picked": True, "reason": "used, a NIfTI file is taken as it is"},
            }
        ]
    )
    study = {"number": 1, "study_id": "nifti", "study_date": "", "failed": None}
    study |= {"series_description": NIFTI_SERIES, "remarks": remarks}
    findings = {"files": 1, "problems": {}, "refused": {}, "studies": [study]}
    file = {"study_number": 1, "slice_num": None, "path": name, "frame": None}
    file |= {"sha256": "", "problem": ""}
    return NewStudies(slices, series, pd.DataFrame([file]), findings)


@dataclass(frozen=True)
class _Prepared:
    """What became of a study: its slices, or why there are none.

    Attributes:
        headers: Its rows of ``choose_slices``.
        series: Its stacks, see ``series.pick_series``.
        slices: Its prepared slices; ``None`` where it cannot be predicted.
        failed: Why it cannot be predicted.
        remarks: What a person should know of it.
    """

    headers: pd.DataFrame
    series: pd.DataFrame
    slices: pd.DataFrame | None = None
    failed: str | None = None
    remarks: list[str] = field(default_factory=list)


def _kept(record: VolumeRecord, per_slab: int) -> dict[str, Any]:
    """What later steps need of a volume's record."""
    return {key: asdict(record)[key] for key in PLACE} | {"slices_per_slab": per_slab}


def _dicom(
    source: Source, store: VolumeStore, crop_size_px: int, slab_mm: float, include_phi: bool
) -> NewStudies:
    rows = read_headers(source.root, source.files)
    headers = headers_table([{**row, "subset": "test2"} for row in rows])
    headers = headers.assign(
        study_instance_uid=headers["study_id"], study_number=_study_numbers(headers, source.root)
    )
    # From here on a study is what one patient has under one StudyInstanceUID.
    headers["study_id"] = headers["study_number"].map(volume_name, na_action="ignore")
    studies = [own for _, own in headers.groupby("study_id", sort=False)]
    prepare = partial(_prepare, source.root, store, crop_size_px, slab_mm)
    if len(studies) < _WORTH_PROCESSES:
        outcomes = [prepare(study) for study in studies]
    else:
        outcomes = list(map_in_processes(prepare, studies, description="Preparing studies"))
    texts = [StudyTexts.of(source.root, one.headers, one.series, include_phi) for one in outcomes]
    wrong = headers.loc[headers["problem"].notna() & ~is_truncated(headers), "problem"]
    findings = {
        "files": len(rows),
        "problems": wrong.str.split(":").str[0].value_counts().to_dict(),
        "refused": {
            name if include_phi else f"Zip file {number}": reason
            for number, (name, reason) in enumerate(source.refused.items(), 1)
        },
        "studies": [
            {**text.record, "remarks": outcome.remarks, "failed": outcome.failed}
            for outcome, text in zip(outcomes, texts, strict=True)
        ],
    }
    ready = [one.slices for one in outcomes if one.slices is not None]
    if not ready:
        raise SourceError(nothing_to_predict(findings))
    slices = pd.concat(ready, ignore_index=True)
    shown = []
    for one, text in zip(outcomes, texts, strict=True):
        own = one.series.assign(study_number=text.record["number"])
        for column in ("description", "kernel"):
            own[column] = [text.shown(words) for words in own[column]]
        shown.append(own)
    series = pd.concat(shown, ignore_index=True).drop(columns="study_id")
    series.insert(0, "study_number", series.pop("study_number"))
    every = pd.concat([headers[headers["study_id"].isna()], *(one.headers for one in outcomes)])
    files = _files(every, slices, source.refused)
    slices = slices.assign(study_id=slices["study_instance_uid"])[list(SLICES)]
    return NewStudies(slices, series, files, findings)


def _study_numbers(headers: pd.DataFrame, root: Path) -> "pd.Series[int]":
    """Number of each file's study; null where a file has no StudyInstanceUID.

    A file without PatientID belongs to the only patient of its study, if there is one.
    """
    rows = headers.loc[headers["study_id"].notna(), ["study_id", "patient_id", "path"]]
    patient = rows["patient_id"].astype(object)
    if patient.isna().any():
        known = rows.groupby("study_id")["patient_id"].agg(["first", "nunique"])
        only = rows["study_id"].map(known["first"].where(known["nunique"] == 1))
        patient = patient.where(patient.notna(), only.astype(object))
        unknown = patient.isna()
        patient[unknown] = [patient_key(root / path) for path in rows.loc[unknown, "path"]]
    keys = rows["study_id"].astype(object) + "\n" + patient
    numbers = pd.Series(pd.factorize(keys)[0] + 1, index=rows.index, dtype="Int64")
    return numbers.reindex(headers.index)


def _prepare(
    root: Path, store: VolumeStore, crop_size_px: int, slab_mm: float, own: pd.DataFrame
) -> _Prepared:
    """Choose the best stack of slices of a study, given its headers, prepare and store it."""
    headers, series = own, pd.DataFrame(columns=SERIES_COLUMNS)
    refused: dict[int, str] = {}
    try:
        while True:
            own, series = choose_slices(headers, root, training=False, refused=refused)
            if not series["picked"].any():
                return _Prepared(own, series, failed=why_none(own, series))
            slices = number_chosen(own)
            slices = slices[slices["slice_num"].notna()].astype({"slice_num": int})
            try:
                volume, record = prepare_study(slices, root, crop_size_px)
                remarks = check_head(volume, (record.row_spacing_mm, record.col_spacing_mm))
                break
            except InputError as error:  # Perhaps the pixels of another stack are a head in HU.
                (picked,) = series.index[series["picked"]]
                refused[int(picked)] = _without_paths(str(error), root, own["path"])
        digests = [file_digest(root / path) for path in slices["path"]]
    except InputError as error:
        failed = _without_paths(str(error), root, own["path"])
        return _Prepared(own, series, failed=failed)
    except Exception as error:  # Whatever a header holds, the other studies go on.
        logger.debug("A study cannot be prepared", exc_info=True)
        failed = f"its files cannot be read ({type(error).__name__})"
        return _Prepared(own, series, failed=failed)
    per_slab = slices_per_slab(record.slice_distance_mm, slab_mm)
    kept = _kept(record, per_slab) | {"turns": slices["turn"].tolist()}
    store.write(str(own["study_id"].iloc[0]), volume, {"record": kept})
    slices = slices.assign(
        sha256=digests, instance_number=slices["instance_number"].round().astype("Int64")
    )
    return _Prepared(
        own, series, slices, remarks=remarks_on(record, per_slab, own, slices) + remarks
    )


def _files(headers: pd.DataFrame, slices: pd.DataFrame, refused: dict[str, str]) -> pd.DataFrame:
    used = slices[["path", "frame", "slice_num", "sha256"]].astype({"slice_num": "Int64"})
    files = headers[["study_number", "path", "frame", "problem"]].merge(
        used, on=["path", "frame"], how="left"
    )
    zips = pd.DataFrame({"path": list(refused), "problem": list(refused.values())})
    columns = ["study_number", "slice_num", "path", "frame", "sha256", "problem"]
    return pd.concat([files, zips], ignore_index=True)[columns].sort_values(
        ["study_number", "slice_num", "path", "frame"], ignore_index=True
    )


def _without_paths(message: str, root: Path, paths: Iterable[str]) -> str:
    """A message that names no file: folders are often called after patients."""
    for path in sorted(paths, key=len, reverse=True):
        message = message.replace(f"{root / path}", "a file").replace(path, "a file")
    return message.replace(f"{root}{os.sep}", "").replace(str(root), "the source")


def log_new_studies(new: NewStudies) -> None:
    """Log which series were picked and what was left out."""
    for _, row in new.series.iterrows():
        logger.info("Study %d: %s: %s", row["study_number"], series_text(row), row["reason"])
    for reason, count in new.findings["problems"].items():
        logger.warning("%s left out: %s", counted(count, "file"), reason)
    for name, reason in new.findings["refused"].items():
        logger.warning("%s left out: %s", name, reason)
    for study in new.findings["studies"]:
        for remark in study["remarks"]:
            logger.warning("Study %d: %s", study["number"], remark)
        if study["failed"]:
            logger.warning(
                "Study %d (%s) cannot be predicted: %s",
                *(study["number"], study["study_id"], study["failed"]),
            )
