"""Candidates judged on patients that they have not seen, and chosen on others still.

For every two folds a candidate is fitted on the rest and predicts both. Seen from fold k,
these fits give each other fold a prediction by a model that saw neither that fold nor k: all
that is chosen, weighed or calibrated for fold k is decided on them. One set of fits so serves
as the inner folds of every outer fold, half as many as nesting one loop in another.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from rsna19_kedro.ensemble.blend import blend, blend_weights
from rsna19_kedro.ensemble.candidate import Candidate, Floats, Groups, Labels, constant_classes
from rsna19_kedro.ensemble.correction import (
    Correction,
    CorrectionKind,
    apply_all,
    fit_correction,
)
from rsna19_kedro.ensemble.level1 import FirstLevel, Floats32
from rsna19_kedro.ensemble.splits import check_patients
from rsna19_kedro.errors import InputError
from rsna19_kedro.evaluation.baselines import INNER_CHOICE, PREVALENCE
from rsna19_kedro.evaluation.metrics import weighted_log_loss

logger = logging.getLogger(__name__)

Folds = npt.NDArray[np.integer]
Builders = Mapping[str, Callable[[], Candidate]]
Blends = Mapping[str, Sequence[str]]
Learned = TypeVar("Learned")


@dataclass(frozen=True)
class Decision:
    """What predictions out of fold say is best.

    Attributes:
        candidate: Name of the candidate of lowest loss; the first of equals.
        losses: Weighted log loss of each candidate, blends included.
        corrections: What is done to its predictions; nothing if nothing helps.
        correction_losses: Its loss after each set of corrections that was tried, by their
            names joined by ``+``; ``none`` is its own.
        blends: ``(members, 6)`` weights of each blend.
    """

    candidate: str
    losses: dict[str, float]
    corrections: tuple[Correction, ...]
    correction_losses: dict[str, float]
    blends: dict[str, Floats]


@dataclass(frozen=True)
class Judgement:
    """Every candidate's predictions of every fold, and how the choice went.

    Attributes:
        predictions: ``(N, 6)`` by name: candidates, blends, ``inner_choice``,
            ``prevalence``; no slice was predicted by anything that its patient had a part in.
        decisions: What was decided without each fold.
        final: What all folds together decide, for data that are not among them.
    """

    predictions: dict[str, Floats]
    decisions: dict[int, Decision]
    final: Decision


def judge(
    features: FirstLevel,
    labels: Labels,
    patients: Groups,
    folds: Folds,
    builders: Builders,
    *,
    blends: Blends | None = None,
    corrections: Sequence[CorrectionKind] = (),
) -> Judgement:
    """Predict each fold by candidates, and by a choice among them, made without it.

    Args:
        features: N slices.
        labels: ``(N, 6)`` zeros and ones.
        patients: ``(N,)`` patients.
        folds: ``(N,)`` fold of the slice.
        builders: Makes a fresh candidate, by name.
        blends: Names of the candidates that are blended, by name of the blend.
        corrections: What may be done to the chosen candidate's predictions.

    Raises:
        InputError: A patient in two folds, or fewer than three folds.
    """
    numbers = _check_folds(patients, folds)
    constant_classes(labels, "Second level")
    views = {
        name: _views(name, build, features, labels, patients, folds)
        for name, build in builders.items()
    }
    blends = blends or {}
    names = (*builders, *blends, INNER_CHOICE, PREVALENCE)
    result = {name: np.empty(labels.shape) for name in names}
    decisions: dict[int, Decision] = {}
    for place, fold in enumerate(numbers):
        scored, rest = folds == fold, folds != fold
        inside = {name: view[place, rest].astype(np.float64) for name, view in views.items()}
        decision = decide(inside, labels[rest], folds[rest], blends, corrections)
        outside = {name: view[place, scored].astype(np.float64) for name, view in views.items()}
        for name, members in blends.items():
            outside[name] = blend([outside[m] for m in members], decision.blends[name])
        outside[INNER_CHOICE] = apply_all(decision.corrections, outside[decision.candidate])
        outside[PREVALENCE] = np.broadcast_to(labels[rest].mean(axis=0), (scored.sum(), 6))
        for name, values in outside.items():
            result[name][scored] = values
        decisions[fold] = decision
        logger.info("Second level: fold %d is predicted by %s", fold, _in_words(decision))
    outer = {name: result[name] for name in builders}
    blended = {name: result[name] for name in blends}
    final = decide(outer, labels, folds, blends, corrections, blended)
    logger.info("Second level: all folds choose %s", _in_words(final))
    return Judgement(result, decisions, final)


def _check_folds(patients: Groups, folds: Folds) -> list[int]:
    """Numbers of the folds, three at least, none of which shares a patient with another."""
    check_patients(patients, folds)
    numbers = [int(fold) for fold in np.unique(folds)]
    if len(numbers) < 3:
        raise InputError(
            "The second level is chosen on inner folds and judged on the fold left out, which "
            f"takes three folds at least, but only fold {numbers} holds slices. Run the whole "
            "graph with at least three folds."
        )
    return numbers


def decide(
    predictions: Mapping[str, Floats],
    labels: Labels,
    folds: Folds,
    blends: Blends,
    corrections: Sequence[CorrectionKind],
    blended: Mapping[str, Floats] | None = None,
) -> Decision:
    """Choose a candidate, and what corrects it, by predictions out of fold.

    Blends and calibrations are learned on all folds but one and scored on that one.

    Args:
        predictions: ``(n, 6)`` by candidate.
        labels: ``(n, 6)``.
        folds: ``(n,)`` fold of the slice.
        blends: Members by name.
        corrections: What may be tried.
        blended: ``(n, 6)`` by blend, if they were predicted out of fold already.
    """
    tried = {**predictions, **(blended or {})}
    weights: dict[str, Floats] = {}
    for name, members in blends.items():
        views = np.stack([predictions[member] for member in members])
        weights[name] = blend_weights(views, labels)
        if name not in tried:
            tried[name] = _cross_fitted(blend_weights, blend, views, labels, folds)
    losses = {name: weighted_log_loss(labels, values) for name, values in tried.items()}
    chosen = min(losses, key=losses.__getitem__)
    steps, step_losses = _decide_corrections(tried[chosen], labels, folds, corrections)
    fitted, corrected = [], tried[chosen]
    for kind in steps:
        fitted.append(fit_correction(kind, corrected, labels))
        corrected = fitted[-1].apply(corrected)
    return Decision(chosen, losses, tuple(fitted), step_losses, weights)


def _decide_corrections(
    predictions: Floats, labels: Labels, folds: Folds, allowed: Sequence[CorrectionKind]
) -> tuple[tuple[CorrectionKind, ...], dict[str, float]]:
    """Which calibration, if any, then whether ``any`` is made consistent; losses of all."""
    tried: dict[tuple[CorrectionKind, ...], Floats] = {(): predictions}
    for kind in allowed:
        if kind != "any":
            fit = partial(fit_correction, kind)
            tried[kind,] = _cross_fitted(fit, _corrected, predictions, labels, folds)
    if "any" in allowed:
        consistent = Correction("any")
        tried |= {(*steps, "any"): consistent.apply(values) for steps, values in tried.items()}
    losses = {steps: weighted_log_loss(labels, values) for steps, values in tried.items()}
    best = min(losses, key=losses.__getitem__)
    return best, {"+".join(steps) or "none": loss for steps, loss in losses.items()}


def _corrected(predictions: Floats, correction: Correction) -> Floats:
    return correction.apply(predictions)


def _cross_fitted(
    fit: Callable[[Floats, Labels], Learned],
    apply: Callable[[Floats, Learned], Floats],
    values: Floats,
    labels: Labels,
    folds: Folds,
) -> Floats:
    """Predict each fold ``(n, 6)`` by what the other folds' values ``(..., n, 6)`` teach."""
    result = np.empty(labels.shape)
    for fold in np.unique(folds):
        scored = folds == fold
        learned = fit(values[..., ~scored, :], labels[~scored])
        result[scored] = apply(values[..., scored, :], learned)
    return result


def _views(
    name: str,
    build: Callable[[], Candidate],
    features: FirstLevel,
    labels: Labels,
    patients: Groups,
    folds: Folds,
) -> Floats32:
    """A candidate's predictions seen from each fold, ``(folds, N, 6)``.

    Row k holds, for the slices of fold k, the prediction by a fit on all other folds; for
    those of another fold j, the prediction by a fit on the folds other than j and k.
    """
    start = time.perf_counter()
    numbers = np.unique(folds)
    views = np.empty((len(numbers), *labels.shape), dtype=np.float32)

    places = range(len(numbers))
    for left_out in (*combinations(places, 1), *combinations(places, 2)):
        learned = ~np.isin(folds, numbers[list(left_out)])
        candidate = build()
        candidate.fit(features.take(learned), labels[learned], patients[learned])
        for seen_from, of in zip(left_out, left_out[::-1], strict=True):
            scored = folds == numbers[of]
            views[seen_from, scored] = candidate.predict(features.take(scored))
    logger.info("Second level: %s fitted in %.1f s", name, time.perf_counter() - start)
    return views


def _in_words(decision: Decision) -> str:
    steps = [step.kind for step in decision.corrections]
    return " + ".join([decision.candidate, *steps])
