"""Predict new studies: from HU to probabilities, spread and heatmaps."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

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
from rsna19_kedro.prediction.engine import (
    Engine,
    Prediction,
    Study,
    find_device,
    find_precision,
)
from rsna19_kedro.prediction.heat import heat_of
from rsna19_kedro.prediction.members import Combination, Member
from rsna19_kedro.prediction.settings import PRECISIONS, PredictionSettings

SPREAD = tuple(f"spread_{name}" for name in CLASSES)

_CPU_GROUP: Final = 128
_GPU_GROUP: Final = 2048
"""Slices per group of studies: about 3 and 57 studies, whose heatmaps need 30 and 490 MB."""


@dataclass(frozen=True)
class StudyResult:
    """Prediction of one study.

    Attributes:
        study_id: Name of its volume.
        slices: One row per slice: ``slice_num``, six ``pred_*`` and six ``spread_*`` (standard
            deviation between checkpoints, a measure of uncertainty; NaN with one checkpoint).
        study: Probability of the study by class, see ``study_rule``.
        heat: Heatmaps ``(S, 6, 100, 100)`` float16 in 0..1, relative to the study's maximum per
            class; ``None`` if no member provides them.
        method: How the models were combined, in words.
        members: Names of the checkpoints that took part.
        band: Training data of these checkpoints.
        precision: Precision of the networks: ``fp32``, ``bf16`` or ``fp16``.
        study_rule: How the probability of a study is obtained, in words.
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
    precision: str
    study_rule: str = "the highest of its slices"
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
    on_study: Callable[[str], object] = lambda _: None,
) -> Iterator[StudyResult]:
    """Predict prepared studies with every member, and combine the predictions.

    Thin slices are first averaged to slabs; each slice gets the results of its slab.

    Memory does not grow with the number of studies: they are predicted in groups of at most 128
    slabs (2,048 on a GPU), and at least one study. Each checkpoint is loaded once per group, a
    single checkpoint only once.

    Args:
        volumes: Prepared volumes; ``slices_per_slab`` of their records defines the slabs.
        names: Studies of the store to predict.
        members: Checkpoints.
        level2: Folder of the second level; ``None`` for the mean of the members.
        settings: Settings of the device.
        one_variant: Whether to skip test-time augmentation.
        report_summary: File with the AUC of these models, if there is one; see ``reported_auc``.
        on_study: Called with the title of the member after each study.

    Yields:
        One result per study, in the order of the names.
    """
    made_from: dict[str, dict[int, Any]] = {}
    trained_on = []
    for member in members:
        metadata = member.metadata()
        trained_on.append(metadata.get(TRAINING_DATA))
        made_from.setdefault(member.model, {})[member.fold] = metadata.get(MADE_FROM)
    band = training_band(trained_on, reported_auc(report_summary, set(made_from), trained_on))
    combine = Combination(level2, weights_of(made_from))
    titles = tuple(member.title for member in members)
    precision = PRECISIONS[find_precision(settings)]

    engine: Engine | None = None
    loaded: Member | None = None
    limit = _GPU_GROUP if find_device(settings).type == "cuda" else _CPU_GROUP
    for group in _groups(volumes, names, limit):
        for member in members:
            if member != loaded or engine is None:
                engine = None  # Frees its memory before the next network is built.
                checkpoint, variants = member.load()
                variants = ("normal",) if one_variant else variants
                engine, loaded = Engine.of(checkpoint, variants, settings), member
                del checkpoint
            studies = (
                Study(name, average_slabs(volumes.read(name), votes.slabs))
                for name, votes in group.items()
            )
            # Maps of rotated slices would have to be rotated back: only unchanged slices give them.
            with_evidence = engine.variants[0] == "normal"
            for predicted in engine.predict(studies, with_evidence=with_evidence):
                side = volumes.shape(predicted.study_id)[-1]
                group[predicted.study_id].add(member.model, predicted, engine.size.crop_px / side)
                on_study(member.title)
        while group:
            name = next(iter(group))
            yield group.pop(name).result(name, combine, titles, band, precision)


@dataclass
class _Votes:
    """Predictions of one study by the members so far.

    Attributes:
        slabs: ``(S,)`` number of the slab of each slice, 0 to N - 1.
        by_model: Probabilities ``(N, 6)`` of each fold, by model.
        areas: Areas of masks ``(N, 7)`` of each fold, by model.
        heat: Weighted sum of heatmaps ``(N, 6, 100, 100)``.
        weight: Sum of the weights.
    """

    slabs: NDArray[np.intp]
    by_model: dict[str, list[np.ndarray]] = field(default_factory=dict)
    areas: dict[str, list[np.ndarray]] = field(default_factory=dict)
    heat: np.ndarray | None = None
    weight: int = 0

    def add(self, model: str, predicted: Prediction, crop_share: float) -> None:
        """Add the prediction of one checkpoint.

        Maps of a single cell (the demo's smallest inputs) have no spatial information and are
        skipped; the others are weighted by their number of cells.
        """
        self.by_model.setdefault(model, []).append(predicted.probabilities.mean(axis=0))
        if predicted.areas is not None:
            self.areas.setdefault(model, []).append(predicted.areas.mean(axis=0))
        cells = 0 if predicted.evidence is None else predicted.evidence[0, 0].size
        if predicted.evidence is not None and cells > 1:
            heat = cells * heat_of(predicted.evidence, crop_share)
            self.heat = heat if self.heat is None else self.heat + heat
            self.weight += cells

    def result(
        self,
        name: str,
        combine: Combination,
        titles: tuple[str, ...],
        band: Band,
        precision: str,
    ) -> StudyResult:
        """Combine the predictions of all members."""
        by_model = {model: np.mean(folds, axis=0) for model, folds in self.by_model.items()}
        areas = [np.mean(folds, axis=0) for folds in self.areas.values()]
        values, method = combine(by_model, np.mean(areas, axis=0) if areas else None)
        each = np.concatenate(list(self.by_model.values()))
        spread = each.std(axis=0) if len(each) > 1 else np.full(each.shape[1:], np.nan)
        columns: dict[str, Any] = {"slice_num": np.arange(len(self.slabs))}
        for columns_of, of_slabs in ((PREDICTIONS, values), (SPREAD, spread)):
            of_slices = of_slabs[self.slabs].T.astype(np.float32)
            columns |= dict(zip(columns_of, of_slices, strict=True))
        highest = dict(zip(CLASSES, values.max(axis=0).tolist(), strict=True))
        heat = None
        if self.heat is not None:
            heat = (self.heat / self.weight).astype(np.float16)[self.slabs]
        table = pd.DataFrame(columns)
        return StudyResult(name, table, highest, heat, method, titles, band, precision)


def _groups(
    volumes: VolumeStore, names: Sequence[str], most_slabs: int
) -> Iterator[dict[str, _Votes]]:
    """Group studies by name until the next one would exceed the number of slabs."""
    group: dict[str, _Votes] = {}
    total = 0
    for name in names:
        slabs = _slabs(volumes, name)
        size = int(slabs.max()) + 1
        if group and total + size > most_slabs:
            yield group
            group, total = {}, 0
        group[name] = _Votes(slabs)
        total += size
    if group:
        yield group


def _slabs(volumes: VolumeStore, name: str) -> NDArray[np.intp]:
    record = volumes.meta(name).get("record")
    per_slab = int(record.get("slices_per_slab", 1)) if isinstance(record, dict) else 1
    return slab_numbers(volumes.shape(name)[0], per_slab)
