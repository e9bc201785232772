"""Prepare the volumes of all studies, each at most once."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import ORIENTATION, PADDING_HU, POSITION
from rsna19_kedro.ct.study_volume import ALIGNED, VolumeRecord, build_volume
from rsna19_kedro.ct.turning import turn_image
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.pixels import read_hu
from rsna19_kedro.dicom.volume_index import volume_table
from rsna19_kedro.errors import DamagedFileError, InputError, SourceError, counted
from rsna19_kedro.parallel import map_in_processes
from rsna19_kedro.provenance.fingerprint import digest_files

logger = logging.getLogger(__name__)

PREPARATION: Final = 2
"""Version of the preparation; changing it makes every volume be prepared again."""

_WORTH_PROCESSES = 100
"""With fewer studies, starting worker processes takes longer than preparing the volumes."""
_NAMED = 5

COLUMNS: Final = (
    *("study_id", "sop_instance_uid", "slice_num", "path", "frame", "turn", "rows", "columns"),
    *("row_spacing_mm", "col_spacing_mm", "position_mm"),
    *POSITION,
    *ORIENTATION,
)
"""Columns of ``slice_index`` that determine the voxels of a volume."""


def study_slices(slice_index: pd.DataFrame) -> list[pd.DataFrame]:
    """Split ``slice_index`` into one table per study, sorted by ``slice_num``.

    Args:
        slice_index: One row per file; rows without ``slice_num`` are left out.

    Returns:
        Tables with the columns ``COLUMNS``; views of one table, to save memory.

    Raises:
        SourceError: The slices of a study are not numbered 0, 1, 2, ...
    """
    placed = slice_index.loc[slice_index["slice_num"].notna(), list(COLUMNS)]
    table = placed.sort_values(["study_id", "slice_num"], ignore_index=True)
    number = table["slice_num"].to_numpy(dtype=int)
    expected = table.groupby("study_id").cumcount().to_numpy()
    wrong = np.flatnonzero(number != expected)
    if len(wrong):
        row = wrong[0]
        raise SourceError(
            f"The slices of study {table['study_id'].iloc[row]} in slice_index are not numbered "
            f"0, 1, 2, ...: found {number[row]} where {expected[row]} is expected. Run the "
            "pipeline ingestion again."
        )
    bounds = np.append(np.flatnonzero(expected == 0), len(table))
    return [table.iloc[start:stop] for start, stop in pairwise(bounds)]


@dataclass(frozen=True)
class StudyOutcome:
    """Outcome of the preparation of one study.

    Attributes:
        study_id: StudyInstanceUID.
        record: Values of ``VolumeRecord``; ``None`` if the study could not be prepared.
        reused: Whether the stored volume of an earlier run is still valid.
        problem: Why the study could not be prepared.
    """

    study_id: str
    record: dict[str, Any] | None = None
    reused: bool = False
    problem: str = ""


def prepare_studies(
    slice_index: pd.DataFrame,
    root: Path,
    store: VolumeStore,
    crop_size_px: int,
    workers: int | None,
) -> pd.DataFrame:
    """Prepare every study whose stored volume is missing or was made from different input.

    Volumes of studies that are not in the slice index or cannot be prepared are removed.

    Args:
        slice_index: One row per DICOM file.
        root: Folder of the raw data; the paths of ``slice_index`` are relative to it.
        store: Store of the prepared volumes.
        crop_size_px: Side of the crop.
        workers: Number of processes; ``None`` for one per core.

    Returns:
        ``volume_index``, see ``volume_table``.

    Raises:
        SourceError: No study can be prepared.
    """
    parts = list(store.folder.glob(".part-*"))
    for part in parts:
        part.unlink(missing_ok=True)
    if parts:
        logger.info("Removed %s of an earlier run", counted(len(parts), "unfinished file"))
    studies = study_slices(slice_index)
    outcomes = list(
        map_in_processes(
            partial(prepare_once, root, store, crop_size_px),
            studies,
            description="Preparing volumes",
            workers=1 if len(studies) < _WORTH_PROCESSES else workers,
        )
    )
    log_outcomes(outcomes)
    records = [outcome.record for outcome in outcomes if outcome.record is not None]
    if not records:
        reason = outcomes[0].problem if outcomes else "slice_index holds no usable slice"
        raise SourceError(f"No study could be prepared: {reason}")
    removed = store.keep_only({record["study_id"] for record in records})
    if removed:
        logger.info(
            "Removed the volumes of %s that are not in use, such as %s",
            *(counted(len(removed), "study", "studies"), removed[0]),
        )
    return volume_table(records)


def prepare_once(
    root: Path, store: VolumeStore, crop_size_px: int, slices: pd.DataFrame
) -> StudyOutcome:
    """Prepare and store a study unless its stored volume was made from the same input.

    Args:
        root: Folder of the raw data.
        store: Store of the prepared volumes.
        crop_size_px: Side of the crop.
        slices: Rows of one study, as ``study_slices`` gives them.
    """
    study_id = str(slices["study_id"].iloc[0])
    wanted = fingerprint(root, slices, crop_size_px)
    if study_id in store:
        try:
            meta = store.meta(study_id)
        except InputError:  # A damaged file is prepared again.
            meta = {}
        record = meta.get("record")
        if meta.get("fingerprint") == wanted and isinstance(record, dict):
            return StudyOutcome(study_id, _restored(record), reused=True)
    try:
        volume, made = prepare_study(slices, root, crop_size_px)
    except InputError as error:
        return StudyOutcome(study_id, problem=str(error))
    store.write(study_id, volume, {"fingerprint": wanted, "record": _storable(made)})
    return StudyOutcome(study_id, asdict(made))


def prepare_study(
    slices: pd.DataFrame, root: Path, crop_size_px: int
) -> tuple[np.ndarray, VolumeRecord]:
    """Decode, align and crop a study.

    A slice that cannot be decoded is replaced by the nearest readable slice and keeps its number;
    see ``build_volume`` for the rest.

    Args:
        slices: Rows of ``slice_index`` of one study, sorted by ``slice_num``, from 0.
        root: Folder that ``path`` is relative to.
        crop_size_px: Side of the square crop around the centre of mass.

    Returns:
        Volume (S, crop_size_px, crop_size_px) int16 HU, at least -1024 in measured pixels and
        ``PADDING_HU`` in padding; and its record.

    Raises:
        DamagedFileError: No slice of the study can be decoded.
        SourceError: The values of the study cannot be HU.
    """
    decoded, repairs = _decode(root, slices)
    if len(repairs) == len(decoded):
        raise DamagedFileError(f"none of its slices can be read. {repairs[0]}")
    volume, record = build_volume(slices, decoded, repairs, crop_size_px)
    paths = [root / path for path in dict.fromkeys(slices["path"])]
    readable = all(path.is_file() for path in paths)
    return volume, replace(record, files_sha256=digest_files(paths) if readable else "")


def native_slices(slices: pd.DataFrame, root: Path) -> np.ndarray:
    """Decode a study without aligning or cropping it.

    A slice that cannot be decoded is replaced by the nearest readable slice.

    Args:
        slices: Rows of ``slice_index`` of one study, sorted by ``slice_num``, from 0.
        root: Folder that ``path`` is relative to.

    Returns:
        (S, H, W) int16 HU, oriented like a prepared volume; smaller slices are padded with
        ``PADDING_HU`` below and on the right.

    Raises:
        DamagedFileError: No slice of the study can be decoded.
    """
    decoded, repairs = _decode(root, slices)
    readable = [number for number, hu in enumerate(decoded) if hu is not None]
    if not readable:
        raise DamagedFileError(f"none of its slices can be read. {repairs[0]}")
    sizes = [hu.shape for hu in decoded if hu is not None]
    native = np.full((len(decoded), *np.max(sizes, axis=0)), PADDING_HU, dtype=np.int16)
    for number in range(len(decoded)):
        hu = decoded[min(readable, key=lambda other: abs(other - number))]
        assert hu is not None
        native[number, : hu.shape[0], : hu.shape[1]] = hu
    return native


def fingerprint(root: Path, slices: pd.DataFrame, crop_size_px: int) -> str:
    """Return a digest of the input of a volume: its files, their geometry, the parameters.

    A file is represented by its path, size and modification time: hashing its content would
    take as long as preparing the volume.
    """
    files = [_state(root / path) for path in slices["path"]]
    digest = hashlib.sha1(usedforsecurity=False)
    digest.update(json.dumps([PREPARATION, crop_size_px, files]).encode())
    digest.update(slices[list(COLUMNS)].to_json(orient="values", double_precision=9).encode())
    return digest.hexdigest()


def _state(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _storable(record: VolumeRecord) -> dict[str, Any]:
    """Replace NaN by None, as JSON has no NaN."""
    return {
        key: None if isinstance(value, float) and np.isnan(value) else value
        for key, value in asdict(record).items()
    }


def _restored(record: dict[str, Any]) -> dict[str, Any]:
    return {key: float("nan") if value is None else value for key, value in record.items()}


def log_outcomes(outcomes: Sequence[StudyOutcome]) -> None:
    """Log which studies were prepared, reused, repaired and left out."""
    done = [outcome.record for outcome in outcomes if outcome.record is not None]
    reused = sum(outcome.reused for outcome in outcomes)
    total = counted(len(done), "volume")
    logger.info("%s: %d prepared, %d reused", total, len(done) - reused, reused)
    unaligned = [record for record in done if record["alignment"] != ALIGNED]
    repaired = [record for record in done if record["repaired"]]
    failed = [outcome for outcome in outcomes if outcome.record is None]
    for record in unaligned[:_NAMED]:
        logger.warning("Study %s is not aligned: %s", record["study_id"], record["alignment"])
    for record in repaired[:_NAMED]:
        logger.warning(
            "Study %s: unreadable slices %s are replaced by their nearest neighbours. %s",
            *(record["study_id"], record["repaired"], record["repairs"][0]),
        )
    for outcome in failed:  # The log names all, because the manifest names none.
        logger.error("Study %s is left out: %s", outcome.study_id, outcome.problem)
    for records, state in ((unaligned, "not aligned"), (repaired, "repaired")):
        if len(records) > _NAMED:
            logger.warning("%d studies are %s in total; see volume_index", len(records), state)


def _decode(root: Path, slices: pd.DataFrame) -> tuple[list[np.ndarray | None], dict[int, str]]:
    decoded: list[np.ndarray | None] = []
    repairs: dict[int, str] = {}
    files = zip(slices["path"], slices["frame"], slices["turn"], strict=True)
    for number, (path, frame, turn) in enumerate(files):
        try:
            hu = read_hu(root / path, None if pd.isna(frame) else int(frame))
            decoded.append(turn_image(hu, int(turn)))
        except InputError as error:
            decoded.append(None)
            repairs[number] = str(error).replace(f"{root}/", "")
    return decoded, repairs
