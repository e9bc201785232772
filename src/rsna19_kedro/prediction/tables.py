"""Prediction tables: a row a slice and test-time variant, resumable by study."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import AREAS, KEYS, PREDICTIONS
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.files import atomic_path, empty_folder
from rsna19_kedro.networks.checkpoint import Checkpoint
from rsna19_kedro.networks.made_from import digest_weights
from rsna19_kedro.parallel import progress_bar
from rsna19_kedro.prediction.engine import Engine, Prediction, Study
from rsna19_kedro.prediction.settings import PredictionSettings

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
    """Predict slices study by study; what an earlier, killed try finished is taken up.

    Args:
        checkpoint: The trained model.
        store: Prepared volumes.
        slices: Rows with ``KEYS``; whole studies or parts of them.
        variants: Names of test-time variants.
        settings: How the device is used.
        parts: Folder for what is finished before the whole is; the caller empties it once the
            whole is saved.
        title: Text in front of the progress bar.

    Returns:
        ``KEYS``, ``tta`` and six probabilities (float32), of a network with masks also their
        seven ``AREAS``; sorted by study, slice and the order of the variants.
    """
    ordered = slices.sort_values(["study_id", "slice_num"], kind="stable")
    studies = {str(study): rows for study, rows in ordered.groupby("study_id", sort=False)}
    names = list(studies)
    step = settings.part_studies
    _forget_another_table(parts, checkpoint, ordered, variants, settings)
    missing = [start for start in range(0, len(names), step) if not _part(parts, start).is_file()]
    engine: Engine | None = None
    with progress_bar() as progress:
        task = progress.add_task(title, total=len(names))
        progress.update(task, completed=len(names) - sum(len(names[i : i + step]) for i in missing))
        for start in missing:
            engine = engine or Engine.of(checkpoint, variants, settings)
            tables = []
            studies_read = (Study(name, store.read(name)) for name in names[start : start + step])
            for found in engine.predict(studies_read):
                tables.append(_rows(studies[found.study_id], found, variants))
                progress.advance(task)
            with atomic_path(_part(parts, start)) as path:
                pd.concat(tables, ignore_index=True).to_parquet(path)
    tables = [pd.read_parquet(_part(parts, start)) for start in range(0, len(names), step)]
    return pd.concat(tables, ignore_index=True)


def _part(parts: Path, start: int) -> Path:
    return parts / f"from_{start:06d}.parquet"


def _forget_another_table(
    parts: Path,
    checkpoint: Checkpoint,
    slices: pd.DataFrame,
    variants: tuple[str, ...],
    settings: PredictionSettings,
) -> None:
    """Remove parts of another checkpoint, other slices, variants or settings."""
    keys = pd.util.hash_pandas_object(slices[list(KEYS)], index=False).to_numpy()
    identity = {
        "weights": digest_weights({k: value.numpy() for k, value in checkpoint.weights.items()}),
        "slices": hashlib.sha256(keys.tobytes()).hexdigest(),
        "variants": list(variants),
        "columns": [*PREDICTIONS, *AREAS],
        "settings": settings.model_dump(mode="json", include={"precision", "part_studies"}),
    }
    note = parts / _IDENTITY
    if note.is_file() and json.loads(note.read_text()) == identity:
        return
    empty_folder(parts)
    with atomic_path(note) as path:
        path.write_text(json.dumps(identity))


def _rows(rows: pd.DataFrame, found: Prediction, variants: tuple[str, ...]) -> pd.DataFrame:
    """Table of the n slices of a study that are asked for, each under all variants."""
    table = rows[list(KEYS)].loc[rows.index.repeat(len(variants))].reset_index(drop=True)
    table["tta"] = list(variants) * len(rows)
    places = rows["slice_num"].to_numpy(np.int64)
    for names, values in ((PREDICTIONS, found.probabilities), (AREAS, found.areas)):
        if values is not None:
            by_slice = values[:, places].swapaxes(0, 1).reshape(-1, len(names))
            table[list(names)] = by_slice.astype(np.float32)
    return table
