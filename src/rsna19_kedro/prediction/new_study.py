"""Predict studies that no model has seen: from HU to probabilities, spread and evidence."""

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
    """What the models say of one study.

    Attributes:
        study_id: Name of its volume.
        slices: A row a slice: ``slice_num``, six ``pred_*`` and six ``spread_*`` (standard
            deviation between checkpoints, a sign of uncertainty).
        study: Probability of the study by class: the highest of its slices.
        heat: ``(S, 6, 100, 100)`` float16 in 0..1: where the evidence for a class lies, as a
            share of the study's strongest; ``None`` where no member can give it.
        method: What combined the models, in words.
        members: Names of the checkpoints that took part.
        band: What these checkpoints were trained on.
        hu: ``(S, 400, 400)`` int16, the prepared slices that ``heat`` lies on; only
            ``predict_study`` gives them.
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
    """Predict prepared studies with every member, and combine.

    Thin slices are averaged in slabs first; each slice takes its slab's results.

    Args:
        volumes: Prepared volumes; ``slices_per_slab`` of their records says what is averaged.
        names: Studies of the store to predict.
        members: Checkpoints; each is loaded once.
        level2: Folder of the second level; ``None`` for the mean of the members.
        settings: How the device is used.
        one_variant: Only the slices as they are, no other test-time augmentation.
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
        found, covered = [], []
        # Evidence of rotated slices would have to be turned back: only plain slices give it.
        for predicted in engine.predict(studies, with_evidence=variants[0] == "normal"):
            found.append(predicted.probabilities.mean(axis=0))
            if predicted.areas is not None:
                covered.append(predicted.areas.mean(axis=0))
            _add_heat(heat, predicted, checkpoint.crop_px / volumes.shape(predicted.study_id)[-1])
            on_study(f"{member.model} fold {member.fold}")
        votes.setdefault(member.model, []).append(np.concatenate(found))
        if covered:
            areas.setdefault(member.model, []).append(np.concatenate(covered))
    sizes = [slabs[name].max() + 1 for name in names]
    studies_of = np.repeat(np.arange(len(names)), sizes)
    slice_nums = np.concatenate([np.arange(size) for size in sizes])
    by_model = {model: np.mean(folds, axis=0) for model, folds in votes.items()}
    mean_areas = np.mean([np.mean(of, axis=0) for of in areas.values()], axis=0) if areas else None
    values, method = combine_models(
        by_model, studies_of, slice_nums, level2, mean_areas, weights_of(made_from)
    )
    spread = np.concatenate(list(votes.values())).std(axis=0)
    band = training_band(trained_on, reported_auc(report_summary, set(votes), trained_on))
    shown = tuple(f"{member.model} fold {member.fold}" for member in members)
    results = []
    for number, name in enumerate(names):
        of_slices = np.flatnonzero(studies_of == number)[slabs[name]]
        columns: dict[str, Any] = {"slice_num": np.arange(len(of_slices))}
        columns |= dict(zip(PREDICTIONS, values[of_slices].T.astype(np.float32), strict=True))
        columns |= dict(zip(SPREAD, spread[of_slices].T.astype(np.float32), strict=True))
        highest = dict(zip(CLASSES, values[of_slices].max(axis=0).tolist(), strict=True))
        weight, total = heat.get(name, (0, None))
        maps = None if total is None else (total / weight).astype(np.float16)[slabs[name]]
        results.append(StudyResult(name, pd.DataFrame(columns), highest, maps, method, shown, band))
    return results


def _slabs(volumes: VolumeStore, name: str) -> NDArray[np.intp]:
    record = volumes.meta(name).get("record")
    per_slab = int(record.get("slices_per_slab", 1)) if isinstance(record, dict) else 1
    return slab_numbers(volumes.shape(name)[0], per_slab)


def _add_heat(
    heat: dict[str, tuple[int, np.ndarray]], predicted: Prediction, crop_share: float
) -> None:
    """Add the evidence of one network to the weighted sum of a study.

    A map of one cell, as of the demo's smallest inputs, says nothing of the place; of the
    others, those of fine maps say more than those of coarse ones.
    """
    cells = 0 if predicted.evidence is None else predicted.evidence[0, 0].size
    if predicted.evidence is not None and cells > 1:
        weight, total = heat.get(predicted.study_id, (0, np.float32(0)))
        summed = total + cells * heat_of(predicted.evidence, crop_share)
        heat[predicted.study_id] = (weight + cells, summed)
