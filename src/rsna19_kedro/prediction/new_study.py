"""Predict new studies: from HU to probabilities, spread and heatmaps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsna19_kedro.contracts import CLASSES, PREDICTIONS
from rsna19_kedro.ct.slabs import average_slabs, slab_numbers
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.ensemble.level1 import weights_of
from rsna19_kedro.networks.made_from import MADE_FROM
from rsna19_kedro.networks.training_data import (
    TRAINING_DATA,
    Band,
    reported_auc,
    training_band,
)
from rsna19_kedro.prediction.engine import Engine, Prediction, Study
from rsna19_kedro.prediction.heat import heat_of
from rsna19_kedro.prediction.members import Member, combine_models
from rsna19_kedro.prediction.settings import PredictionSettings

SPREAD = tuple(f"spread_{name}" for name in CLASSES)


@dataclass(frozen=True)
class StudyResult:
    """Prediction of one study.

    Attributes:
        study_id: Name of its volume.
        slices: One row per slice: ``slice_num``, six ``pred_*`` and six ``spread_*`` (standard
            deviation between checkpoints, a measure of uncertainty; NaN with one checkpoint).
        study: Probability of the study by class: the maximum over its slices.
        heat: Heatmaps ``(S, 6, 100, 100)`` float16 in 0..1, relative to the study's maximum per
            class; ``None`` if no member provides them.
        method: How the models were combined, in words.
        members: Names of the checkpoints that took part.
        band: Training data of these checkpoints.
        hu: Prepared slices ``(S, 400, 400)`` int16, which ``heat`` covers; set only by
            ``predict_study``.
    """

    study_id: str
    slices: pd.DataFrame
    study: dict[str, float]
    heat: np.ndarray | None
    method: str
    members: tuple[str, ...]
    band: Band
    hu: np.ndarray | None = None

    @property
    def most_suspicious(self) -> int:
        """Number of the slice with the highest probability of any haemorrhage."""
        return int(self.slices.loc[self.slices["pred_any"].idxmax(), "slice_num"])


def predict_prepared(
    volumes: VolumeStore,
    names: Sequence[str],
    members: Sequence[Member],
    level2: Path | None,
    settings: PredictionSettings,
    *,
    one_variant: bool = False,
    report_summary: Path | None = None,
    on_study: Callable[[str], None] = lambda _: None,
) -> list[StudyResult]:
    """Predict prepared studies with every member, and combine the predictions.

    Thin slices are first averaged to slabs; each slice gets the results of its slab.

    Args:
        volumes: Prepared volumes; ``slices_per_slab`` of their records defines the slabs.
        names: Studies of the store to predict.
        members: Checkpoints; each is loaded once.
        level2: Folder of the second level; ``None`` for the mean of the members.
        settings: Settings of the device.
        one_variant: Whether to skip test-time augmentation.
        report_summary: File with the AUC of these models, if there is one; see ``reported_auc``.
        on_study: Called with the title of the member after each study.
    """
    slabs = {name: _slabs(volumes, name) for name in names}
    votes: dict[str, list[np.ndarray]] = {}  # By model, (N, 6) of each fold.
    areas: dict[str, list[np.ndarray]] = {}
    heat: dict[str, tuple[int, np.ndarray]] = {}
    trained_on: list[dict[str, Any] | None] = []
    made_from: dict[str, dict[int, Any]] = {}
    for member in members:
        checkpoint, variants = member.load()
        trained_on.append(checkpoint.metadata.get(TRAINING_DATA))
        made_from.setdefault(member.model, {})[member.fold] = checkpoint.metadata.get(MADE_FROM)
        variants = ("normal",) if one_variant else variants
        engine = Engine.of(checkpoint, variants, settings)
        studies = (Study(name, average_slabs(volumes.read(name), slabs[name])) for name in names)
        probabilities, mask_areas = [], []
        # Maps of rotated slices would have to be rotated back: only unchanged slices give them.
        for predicted in engine.predict(studies, with_evidence=variants[0] == "normal"):
            probabilities.append(predicted.probabilities.mean(axis=0))
            if predicted.areas is not None:
                mask_areas.append(predicted.areas.mean(axis=0))
            _add_heat(heat, predicted, checkpoint.crop_px / volumes.shape(predicted.study_id)[-1])
            on_study(f"{member.model} fold {member.fold}")
        votes.setdefault(member.model, []).append(np.concatenate(probabilities))
        if mask_areas:
            areas.setdefault(member.model, []).append(np.concatenate(mask_areas))
    sizes = [slabs[name].max() + 1 for name in names]
    studies_of = np.repeat(np.arange(len(names)), sizes)
    slice_nums = np.concatenate([np.arange(size) for size in sizes])
    by_model = {model: np.mean(folds, axis=0) for model, folds in votes.items()}
    mean_areas = np.mean([np.mean(a, axis=0) for a in areas.values()], axis=0) if areas else None
    values, method = combine_models(
        by_model, studies_of, slice_nums, level2, mean_areas, weights_of(made_from)
    )
    each = np.concatenate(list(votes.values()))
    spread = each.std(axis=0) if len(each) > 1 else np.full(each.shape[1:], np.nan)
    band = training_band(trained_on, reported_auc(report_summary, set(votes), trained_on))
    titles = tuple(f"{member.model} fold {member.fold}" for member in members)
    results = []
    for number, name in enumerate(names):
        of_slices = np.flatnonzero(studies_of == number)[slabs[name]]
        columns: dict[str, Any] = {"slice_num": np.arange(len(of_slices))}
        columns |= dict(zip(PREDICTIONS, values[of_slices].T.astype(np.float32), strict=True))
        columns |= dict(zip(SPREAD, spread[of_slices].T.astype(np.float32), strict=True))
        highest = dict(zip(CLASSES, values[of_slices].max(axis=0).tolist(), strict=True))
        weight, total = heat.get(name, (0, None))
        maps = None if total is None else (total / weight).astype(np.float16)[slabs[name]]
        results.append(
            StudyResult(name, pd.DataFrame(columns), highest, maps, method, titles, band)
        )
    return results


def _slabs(volumes: VolumeStore, name: str) -> NDArray[np.intp]:
    record = volumes.meta(name).get("record")
    per_slab = int(record.get("slices_per_slab", 1)) if isinstance(record, dict) else 1
    return slab_numbers(volumes.shape(name)[0], per_slab)


def _add_heat(
    heat: dict[str, tuple[int, np.ndarray]], predicted: Prediction, crop_share: float
) -> None:
    """Add the class activation maps of one network to the weighted sum of a study.

    Maps of a single cell (the demo's smallest inputs) have no spatial information and are
    skipped; the others are weighted by their number of cells.
    """
    cells = 0 if predicted.evidence is None else predicted.evidence[0, 0].size
    if predicted.evidence is not None and cells > 1:
        weight, total = heat.get(predicted.study_id, (0, np.float32(0)))
        summed = total + cells * heat_of(predicted.evidence, crop_share)
        heat[predicted.study_id] = (weight + cells, summed)
