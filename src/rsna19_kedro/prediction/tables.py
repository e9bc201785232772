"""Prediction tables: one row per slice and test-time augmentation, resumable by study."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import AREAS, KEYS, PREDICTIONS
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.files import atomic_path, empty_folder
from rsna19_kedro.networks.checkpoint import Checkpoint
from rsna19_kedro.networks.made_from import digest_weights
from rsna19_kedro.prediction.engine import Engine, Prediction, Study, find_precision
from rsna19_kedro.prediction.settings import PredictionSettings
from rsna19_kedro.progress import progress_bar

_IDENTITY = "identity.json"


def predict_slices(
    checkpoint: Checkpoint,
    store: VolumeStore,
    slices: pd.DataFrame,
    variants: tuple[str, ...],
    settings: PredictionSettings,
    parts: Path,
    *,
    title: str,
) -> pd.DataFrame:
    """Predict slices study by study; an interrupted run is resumed.

    Args:
        checkpoint: The trained model.
        store: Prepared volumes.
        slices: Rows with ``KEYS``; complete studies or some of their slices.
        variants: Names of test-time augmentations.
        settings: Settings of the device.
        parts: Folder for finished parts of the table; the caller empties it after saving the
            table.
        title: Text of the progress bar.

    Returns:
        ``KEYS``, ``tta``, six probabilities (float32) and, for a network with masks, seven
        ``AREAS``; sorted by study, slice and order of ``variants``.
    """
    ordered = slices.sort_values(["study_id", "slice_num"], kind="stable")
    studies = {str(study): rows for study, rows in ordered.groupby("study_id", sort=False)}
    names = list(studies)
    step = settings.part_studies
    identity = _identity(checkpoint, ordered, variants, settings)
    note = parts / _IDENTITY
    if not note.is_file() or json.loads(note.read_text()) != identity:
        empty_folder(parts)
    missing = [start for start in range(0, len(names), step) if not _part(parts, start).is_file()]
    engine: Engine | None = None
    with progress_bar() as progress:
        task = progress.add_task(title, total=len(names))
        progress.update(task, completed=len(names) - sum(len(names[i : i + step]) for i in missing))
        for start in missing:
            engine = engine or Engine.of(checkpoint, variants, settings)
            tables = []
            studies_read = (Study(name, store.read(name)) for name in names[start : start + step])
            for prediction in engine.predict(studies_read):
                tables.append(_rows(studies[prediction.study_id], prediction, variants))
                progress.advance(task)
            if not note.is_file():
                with atomic_path(note) as path:
                    path.write_text(json.dumps(identity))
            with atomic_path(_part(parts, start)) as path:
                pd.concat(tables, ignore_index=True).to_parquet(path)
    tables = [pd.read_parquet(_part(parts, start)) for start in range(0, len(names), step)]
    return pd.concat(tables, ignore_index=True)


def _part(parts: Path, start: int) -> Path:
    return parts / f"from_{start:06d}.parquet"


def _identity(
    checkpoint: Checkpoint,
    slices: pd.DataFrame,
    variants: tuple[str, ...],
    settings: PredictionSettings,
) -> dict[str, Any]:
    """Return what the stored parts depend on; others are discarded."""
    keys = pd.util.hash_pandas_object(slices[list(KEYS)], index=False).to_numpy()
    return {
        "weights": digest_weights({k: value.numpy() for k, value in checkpoint.weights.items()}),
        "slices": hashlib.sha256(keys.tobytes()).hexdigest(),
        "variants": list(variants),
        "columns": [*PREDICTIONS, *AREAS],
        "settings": {
            "precision": find_precision(settings),
            "part_studies": settings.part_studies,
        },
    }


def _rows(rows: pd.DataFrame, prediction: Prediction, variants: tuple[str, ...]) -> pd.DataFrame:
    """Table of the n requested slices of a study, each under all test-time augmentations."""
    table = rows[list(KEYS)].loc[rows.index.repeat(len(variants))].reset_index(drop=True)
    table["tta"] = list(variants) * len(rows)
    slice_nums = rows["slice_num"].to_numpy(np.int64)
    for names, values in ((PREDICTIONS, prediction.probabilities), (AREAS, prediction.areas)):
        if values is not None:
            by_slice = values[:, slice_nums].swapaxes(0, 1).reshape(-1, len(names))
            table[list(names)] = by_slice.astype(np.float32)
    return table
