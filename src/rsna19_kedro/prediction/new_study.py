"""Predict studies that no model has seen: from HU to probabilities, spread and evidence."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import CLASSES, PREDICTIONS
from rsna19_kedro.prediction.engine import Engine, Study
from rsna19_kedro.prediction.heat import heat_of
from rsna19_kedro.prediction.members import Member, combine
from rsna19_kedro.prediction.settings import PredictionSettings

SPREAD = tuple(f"spread_{name}" for name in CLASSES)


class Vote(NamedTuple):
    """What one checkpoint says of a study, a mean over the test-time variants.

    Attributes:
        probabilities: ``(S, 6)``.
        areas: ``(S, 7)`` of the predicted masks; ``None`` from networks without.
    """

    probabilities: np.ndarray
    areas: np.ndarray | None


@dataclass(frozen=True)
class StudyResult:
    """What the models say of one study.

    Attributes:
        study_id: Its name.
        slices: A row a slice: ``slice_num``, six ``pred_*`` and six ``spread_*`` (standard
            deviation between checkpoints, a sign of uncertainty).
        study: Probability of the study by class: the highest of its slices.
        heat: ``(S, 6, 100, 100)`` float16 in 0..1: where the evidence for a class lies, as a
            share of the study's strongest; ``None`` where no member can give it.
        method: What combined the models, in words.
        members: Names of the checkpoints that took part.
        hu: ``(S, 400, 400)`` int16, the prepared slices that ``heat`` lies on; only
            ``predict_study`` gives them.
    """

    study_id: str
    slices: pd.DataFrame
    study: dict[str, float]
    heat: np.ndarray | None
    method: str
    members: tuple[str, ...]
    hu: np.ndarray | None = None

    @property
    def most_suspicious(self) -> int:
        """Number of the slice with the highest probability of any haemorrhage."""
        return int(self.slices.loc[self.slices["pred_any"].idxmax(), "slice_num"])


def predict_prepared(
    read: Callable[[str], np.ndarray],
    sizes: dict[str, int],
    side_px: int,
    members: Sequence[Member],
    level2: Path | None,
    settings: PredictionSettings,
    *,
    one_variant: bool = False,
    on_study: Callable[[str], None] = lambda _: None,
) -> list[StudyResult]:
    """Predict prepared studies with every member, and combine.

    Args:
        read: Gives the ``(S, side, side)`` int16 HU of a study by its name.
        sizes: Slices of each study.
        side_px: Side of the prepared slices.
        members: Checkpoints; each is loaded once.
        level2: Folder of the second level; ``None`` for the mean of the members.
        settings: How the device is used.
        one_variant: Only the slices as they are, no other test-time variant.
        on_study: Told what is worked on, once a member and study.
    """
    names = list(sizes)
    votes: dict[str, list[dict[str, Vote]]] = {}
    heat: dict[str, tuple[int, np.ndarray]] = {}
    for member in members:
        checkpoint, variants = member.load()
        variants = ("normal",) if one_variant else variants
        # Rotated evidence would have to be turned back: those who see the slices as they are tell.
        seen_plain = variants[0] == "normal"
        engine = Engine.of(checkpoint, variants, settings)
        found: dict[str, Vote] = {}
        studies = (Study(name, read(name)) for name in names)
        for predicted in engine.predict(studies, with_evidence=seen_plain):
            name, evidence, areas = predicted.study_id, predicted.evidence, predicted.areas
            found[name] = Vote(
                predicted.probabilities.mean(axis=0), None if areas is None else areas.mean(axis=0)
            )
            # A map of one cell, as of the demo's smallest inputs, says nothing of the place; of
            # the others, those of fine maps say more than those of coarse ones.
            cells = 0 if evidence is None else evidence[0, 0].size
            if evidence is not None and cells > 1:
                weight, total = heat.get(name, (0, np.float32(0)))
                share = engine.size.crop_px / side_px
                heat[name] = (weight + cells, total + cells * heat_of(evidence, share))
            on_study(f"{member.model} fold {member.fold}")
        votes.setdefault(member.model, []).append(found)
    return list(_results(sizes, votes, heat, members, level2))


def _results(
    sizes: dict[str, int],
    votes: dict[str, list[dict[str, Vote]]],
    heat: dict[str, tuple[int, np.ndarray]],
    members: Sequence[Member],
    level2: Path | None,
) -> Iterator[StudyResult]:
    names = list(sizes)
    by_fold = {
        model: [np.concatenate([fold[name].probabilities for name in names]) for fold in folds]
        for model, folds in votes.items()
    }
    by_model = {model: np.mean(folds, axis=0) for model, folds in by_fold.items()}
    spread = np.concatenate(list(by_fold.values())).std(axis=0)
    studies = np.repeat(np.arange(len(names)), list(sizes.values()))
    numbers = np.concatenate([np.arange(count) for count in sizes.values()])
    values, method = combine(by_model, studies, numbers, level2, _areas(votes, names))
    shown = tuple(f"{member.model} fold {member.fold}" for member in members)
    for number, name in enumerate(names):
        rows = studies == number
        columns: dict[str, Any] = {"slice_num": numbers[rows]}
        columns |= dict(zip(PREDICTIONS, values[rows].T.astype(np.float32), strict=True))
        columns |= dict(zip(SPREAD, spread[rows].T.astype(np.float32), strict=True))
        highest = values[rows].max(axis=0)
        weight, total = heat.get(name, (0, None))
        yield StudyResult(
            name,
            pd.DataFrame(columns),
            {label: float(p) for label, p in zip(CLASSES, highest, strict=True)},
            None if total is None else (total / weight).astype(np.float16),
            method,
            shown,
        )


def _areas(votes: dict[str, list[dict[str, Vote]]], names: list[str]) -> np.ndarray | None:
    """Mean over the models with masks of the mean over their folds, ``(N, 7)``."""
    by_model = []
    for folds in votes.values():
        each = [[fold[name].areas for name in names] for fold in folds]
        known = [[part for part in fold if part is not None] for fold in each]
        if len(names) == min(map(len, known)):
            by_model.append(np.mean([np.concatenate(fold) for fold in known], axis=0))
    return np.mean(by_model, axis=0) if by_model else None
