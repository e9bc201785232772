"""Prepared volumes from a user's source, with a record of what was left out and why."""

import logging
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
    unlike_training,
    why_none,
    without_paths,
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
from rsna19_kedro.dicom.studies import native_slices, prepare_study
from rsna19_kedro.errors import InputError, SourceError
from rsna19_kedro.parallel import end_workers, map_in_processes

logger = logging.getLogger(__name__)

NIFTI_SERIES: Final = "NIfTI file"
PLACE: Final = ("row_shifts_px", "col_shifts_px", "crop_row", "crop_col")
"""Fields of a volume's record that are kept: the position of its images in the volume."""
CROP_PX: Final = 400
"""Side of prepared slices, as in training."""
SLICES: Final = (
    *("study_number", "study_id", "slice_num", "sop_instance_uid", "instance_number"),
    "position_mm",
)
_WORTH_PROCESSES: Final = 6
"""With fewer studies, one process prepares them: starting more takes about a second."""


@dataclass(frozen=True)
class NewStudies:
    """Studies, series and files of a source.

    Attributes:
        slices: Prepared slices, columns ``SLICES``: ``study_id`` is the StudyInstanceUID,
            ``position_mm`` the position along the normal.
        series: See ``series.pick_series``, with ``study_number`` instead of ``study_id``.
        files: ``study_number``, ``slice_num``, ``path``, ``frame``, ``sha256`` and ``problem`` of
            every file (enhanced files: of every frame); the first two are null if the file
            belongs to no study or is not used. The local key from numbers to files.
        findings: ``files``, the number of files read; ``problems``, counts by reason; ``refused``,
            why zip files within the source were not unpacked; ``studies``, a list by number of
            ``number``, ``study_id``, ``study_date``, ``series_description``, ``remarks``,
            ``failed`` (why the study cannot be predicted, or null), and with ``include_phi``
            ``patient_name``, ``patient_id`` and ``path``.
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
    native: VolumeStore | None = None,
) -> NewStudies:
    """Prepare every study of a source and store its volume under ``volume_name``.

    A study consists of the files with one PatientID and one StudyInstanceUID. Studies are
    numbered from 1, in the order of their files.

    Args:
        path: See ``sources.opened``.
        store: Store of the prepared volumes.
        crop_size_px: Side of the prepared slices.
        slab_mm: Thickness of the slabs in which thin slices are averaged for prediction; 0 to
            disable averaging.
        max_unpacked_bytes: Zip files that unpack to more are refused.
        follow_links: Whether links that lead out of the source are followed.
        include_phi: Whether to include names and IDs of patients, and paths; otherwise they
            are also removed from series descriptions and errors.
        native: Store of the slices as decoded, see ``native_slices``; ``None`` if not needed.

    Raises:
        SourceError: Nothing in the source can be predicted; the message says why.
    """
    preparation = _Preparation(store, native, crop_size_px, slab_mm)
    with opened(path, max_unpacked_bytes, follow_links=follow_links) as source:
        if source.nifti:
            return _nifti(source, preparation)
        return _dicom(source, preparation, path if include_phi else None)


def volume_name(number: int) -> str:
    """Return the name of a study's volume, and of the folder of its DICOM results."""
    return f"study_{number}"


@dataclass(frozen=True)
class _Preparation:
    """Where and how studies are stored, see ``prepare_new_studies``."""

    store: VolumeStore
    native: VolumeStore | None
    crop_size_px: int
    slab_mm: float


def _nifti(source: Source, to: _Preparation) -> NewStudies:
    (name,) = source.files
    head = read_nifti(source.root / name, to.crop_size_px)
    volume, record = head.volume, head.record
    per_slab = slices_per_slab(record.slice_distance_mm, to.slab_mm)
    to.store.write(volume_name(1), volume, {"record": _stored_record(record, per_slab)})
    if to.native is not None:
        to.native.write(volume_name(1), head.native, {})
    remarks = head.remarks + unlike_training(record, per_slab)
    numbers = {"study_number": 1, "study_id": "nifti", "slice_num": np.arange(len(volume))}
    unknown = {"sop_instance_uid": "", "instance_number": np.nan, "position_mm": np.nan}
    slices = pd.DataFrame(numbers | unknown).astype({"instance_number": "Int64"})
    used: dict[str, Any] = {"study_number": 1, "series_instance_uid": "nifti", "stack": 1}
    used |= {"slices": len(volume)}
    used |= {"distance_mm": record.slice_distance_mm, "description": NIFTI_SERIES, "kernel": ""}
    used |= {"picked": True, "reason": "used, the only series of a NIfTI file"}
    study = {"number": 1, "study_id": "nifti", "study_date": "", "failed": None}
    study |= {"series_description": NIFTI_SERIES, "remarks": remarks}
    findings = {"files": 1, "problems": {}, "refused": {}, "studies": [study]}
    file = {"study_number": 1, "slice_num": None, "path": name, "frame": None}
    file |= {"sha256": "", "problem": ""}
    return NewStudies(slices, pd.DataFrame([used]), pd.DataFrame([file]), findings)


@dataclass(frozen=True)
class _Prepared:
    """Outcome of the preparation of one study.

    Attributes:
        headers: Rows of ``choose_slices`` of the study.
        series: Stacks of the study, see ``series.pick_series``.
        slices: Prepared slices; ``None`` if the study cannot be predicted.
        failed: Why the study cannot be predicted.
        remarks: Remarks for the user.
    """

    headers: pd.DataFrame
    series: pd.DataFrame
    slices: pd.DataFrame | None = None
    failed: str | None = None
    remarks: list[str] = field(default_factory=list)


def _stored_record(record: VolumeRecord, per_slab: int) -> dict[str, Any]:
    """Return the fields of a volume's record that later steps need."""
    return {key: asdict(record)[key] for key in PLACE} | {"slices_per_slab": per_slab}


def _dicom(source: Source, to: _Preparation, shown: Path | None) -> NewStudies:
    """Prepare DICOM studies; without a path to show, nothing identifies a patient."""
    include_phi = shown is not None
    rows = read_headers(source.root, source.files)
    headers = headers_table([{**row, "subset": "test2"} for row in rows])
    headers = headers.assign(
        study_instance_uid=headers["study_id"], study_number=_study_numbers(headers, source.root)
    )
    # From here on a study has one patient and one StudyInstanceUID.
    headers["study_id"] = headers["study_number"].map(volume_name, na_action="ignore")
    studies = [rows for _, rows in headers.groupby("study_id", sort=False)]
    prepare = partial(_prepare, source.root, to)
    if len(studies) < _WORTH_PROCESSES:
        outcomes = [prepare(study) for study in studies]
    else:
        outcomes = list(map_in_processes(prepare, studies, description="Preparing studies"))
        end_workers()  # The networks need their memory.
    texts = [
        StudyTexts.of(source.root, outcome.headers, outcome.series, include_phi)
        for outcome in outcomes
    ]
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
    prepared = [outcome.slices for outcome in outcomes if outcome.slices is not None]
    if not prepared:
        raise SourceError(nothing_to_predict(findings, shown))
    slices = pd.concat(prepared, ignore_index=True)
    tables = []
    for outcome, text in zip(outcomes, texts, strict=True):
        table = outcome.series.assign(study_number=text.record["number"])
        for column in ("description", "kernel"):
            table[column] = [text.shown(words) for words in table[column]]
        tables.append(table)
    series = pd.concat(tables, ignore_index=True).drop(columns="study_id")
    series.insert(0, "study_number", series.pop("study_number"))
    without_study = headers[headers["study_id"].isna()]
    all_headers = pd.concat([without_study, *(outcome.headers for outcome in outcomes)])
    files = _files(all_headers, slices, source.refused)
    slices = slices.assign(study_id=slices["study_instance_uid"])[list(SLICES)]
    return NewStudies(slices, series, files, findings)


def _study_numbers(headers: pd.DataFrame, root: Path) -> "pd.Series[int]":
    """Number the study of each file; null for files without StudyInstanceUID.

    A file without PatientID is assigned to the patient of its study if that has only one.
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


def _prepare(root: Path, to: _Preparation, headers: pd.DataFrame) -> _Prepared:
    """Choose the best stack of slices of a study by its headers, then prepare and store it."""
    chosen, series = headers, pd.DataFrame(columns=SERIES_COLUMNS)
    refused: dict[int, str] = {}
    try:
        while True:
            chosen, series = choose_slices(headers, root, training=False, refused=refused)
            if not series["picked"].any():
                return _Prepared(chosen, series, failed=why_none(chosen, series))
            slices = number_chosen(chosen)
            slices = slices[slices["slice_num"].notna()].astype({"slice_num": int})
            try:
                volume, record = prepare_study(slices, root, to.crop_size_px)
                remarks = check_head(volume, (record.row_spacing_mm, record.col_spacing_mm))
                break
            except InputError as error:  # Try the next stack: it may show a head in HU.
                (picked,) = series.index[series["picked"]]
                refused[int(picked)] = without_paths(str(error), root, chosen["path"])
        digests = [file_digest(root / path) for path in slices["path"]]
        if to.native is not None:
            to.native.write(str(chosen["study_id"].iloc[0]), native_slices(slices, root), {})
    except InputError as error:
        failed = without_paths(str(error), root, chosen["path"])
        return _Prepared(chosen, series, failed=failed)
    except Exception as error:  # An unexpected header must not stop the other studies.
        logger.debug("A study cannot be prepared", exc_info=True)
        failed = f"its files cannot be read ({type(error).__name__})"
        return _Prepared(chosen, series, failed=failed)
    per_slab = slices_per_slab(record.slice_distance_mm, to.slab_mm)
    stored = _stored_record(record, per_slab) | {"turns": slices["turn"].tolist()}
    to.store.write(str(chosen["study_id"].iloc[0]), volume, {"record": stored})
    slices = slices.assign(
        sha256=digests, instance_number=slices["instance_number"].round().astype("Int64")
    )
    return _Prepared(
        chosen, series, slices, remarks=remarks_on(record, per_slab, chosen, slices) + remarks
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
