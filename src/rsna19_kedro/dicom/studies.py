"""Prepares studies one by one, each at most once."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, overload

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import ORIENTATION, POSITION
from rsna19_kedro.ct.study_volume import VolumeRecord
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.study_volume import prepare_study
from rsna19_kedro.errors import InputError

PREPARATION: Final = 1
"""Number of the way in which volumes are prepared; another one makes all of them anew."""

COLUMNS: Final = (
    *("study_id", "sop_instance_uid", "slice_num", "path", "rows", "columns"),
    *("row_spacing_mm", "col_spacing_mm", "position_mm"),
    *POSITION,
    *ORIENTATION,
)
"""Columns of ``slice_index`` that decide on the voxels of a volume."""


class StudySlices(Sequence[pd.DataFrame]):
    """The slices of each study, cut out of the index only when they are asked for.

    Args:
        slice_index: One row a file; those without ``slice_num`` are left out.

    Raises:
        InputError: The slices of a study are not numbered 0, 1, 2, ...
    """

    def __init__(self, slice_index: pd.DataFrame) -> None:
        placed = slice_index.loc[slice_index["slice_num"].notna(), list(COLUMNS)]
        self.table = placed.sort_values(["study_id", "slice_num"], ignore_index=True)
        ids = self.table["study_id"].to_numpy(dtype=object)
        first = np.flatnonzero(ids[1:] != ids[:-1]) + 1 if len(ids) else np.array([], dtype=int)
        self._starts = np.concatenate([[0], first]) if len(ids) else first
        self._stops = np.append(first, len(ids)) if len(ids) else first
        number = self.table["slice_num"].to_numpy(dtype=int)
        expected = np.arange(len(ids)) - np.repeat(self._starts, self._stops - self._starts)
        wrong = np.flatnonzero(number != expected)
        if len(wrong):
            raise InputError(
                f"The slices of study {ids[wrong[0]]} in slice_index are not numbered 0, 1, 2, "
                f"...: number {number[wrong[0]]} stands where {expected[wrong[0]]} belongs. Run "
                "the pipeline ingestion again."
            )

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> pd.DataFrame: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[pd.DataFrame]: ...

    def __getitem__(self, index: int | slice) -> pd.DataFrame | Sequence[pd.DataFrame]:
        """Rows of one study, by ``slice_num``."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.table.iloc[self._starts[index] : self._stops[index]]


@dataclass(frozen=True)
class Outcome:
    """What became of a study.

    Attributes:
        study_id: StudyInstanceUID.
        record: Values of ``VolumeRecord``; ``None`` when the study could not be prepared.
        reused: Whether the stored volume of an earlier run is still right.
        problem: Why there is no volume.
    """

    study_id: str
    record: dict[str, Any] | None = None
    reused: bool = False
    problem: str = ""


def prepare_once(
    root: Path, store: VolumeStore, crop_size_px: int, slices: pd.DataFrame
) -> Outcome:
    """Prepare and store a study unless its stored volume was made from the same input.

    Args:
        root: Folder of the raw data.
        store: Where the volume goes.
        crop_size_px: Side of the crop.
        slices: Rows of one study, as ``StudySlices`` gives them.
    """
    study_id = str(slices["study_id"].iloc[0])
    wanted = fingerprint(root, slices, crop_size_px)
    if study_id in store:
        try:
            meta = store.meta(study_id)
        except InputError:  # a damaged file is made anew
            meta = {}
        record = meta.get("record")
        if meta.get("fingerprint") == wanted and isinstance(record, dict):
            return Outcome(study_id, _restored(record), reused=True)
    try:
        volume, made = prepare_study(slices, root, crop_size_px)
    except InputError as error:
        return Outcome(study_id, problem=str(error))
    store.write(study_id, volume, {"fingerprint": wanted, "record": _storable(made)})
    return Outcome(study_id, made.as_dict())


def fingerprint(root: Path, slices: pd.DataFrame, crop_size_px: int) -> str:
    """Digest of all that decides on a volume: its files, their geometry, the parameters.

    A file counts with its path, size and time of last change: reading all of it would take
    as long as preparing the volume.
    """
    files = [_state(root / path) for path in slices["path"]]
    digest = hashlib.sha1(usedforsecurity=False)
    digest.update(json.dumps([PREPARATION, crop_size_px, files]).encode())
    digest.update(slices[list(COLUMNS)].to_json(orient="values", double_precision=9).encode())
    return digest.hexdigest()


def remove_partial_files(folder: Path) -> int:
    """Remove what a killed run was writing; returns how many files that were."""
    parts = list(folder.glob(".part-*"))
    for part in parts:
        part.unlink(missing_ok=True)
    return len(parts)


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def _storable(record: VolumeRecord) -> dict[str, Any]:
    """JSON has no NaN: null stands for it in the file."""
    return {
        key: None if isinstance(value, float) and np.isnan(value) else value
        for key, value in record.as_dict().items()
    }


def _restored(record: dict[str, Any]) -> dict[str, Any]:
    return {key: float("nan") if value is None else value for key, value in record.items()}
