"""Nested cross-validation: selected on inner folds, scored on the outer fold.

For every pair of folds, a candidate is fitted on the other folds and predicts both. For outer
fold k, these fits give each other fold a prediction by a model that saw neither that fold nor
k. Choice, blend weights and calibration for fold k use only these predictions. Outer folds
share the fits, which halves their number compared with two nested loops.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from rsna19_kedro.ensemble.blend import blend, blend_weights
from rsna19_kedro.ensemble.candidate import Floats, Groups, Labels, constant_classes
from rsna19_kedro.ensemble.correction import (
    Correction,
    CorrectionKind,
    apply_all,
    fit_correction,
)
from rsna19_kedro.ensemble.fits import Builders, Data, Folds, fitted
from rsna19_kedro.ensemble.level1 import FirstLevel
from rsna19_kedro.ensemble.splits import check_patients
from rsna19_kedro.errors import InputError
from rsna19_kedro.evaluation.baselines import INNER_CHOICE, PREVALENCE
from rsna19_kedro.evaluation.metrics import weighted_log_loss

logger = logging.getLogger(__name__)

Blends = Mapping[str, Sequence[str]]
Learned = TypeVar("Learned")


@dataclass(frozen=True)
class Decision:
    """The choice made on out-of-fold predictions.

    Attributes:
        candidate: Name of the candidate with the lowest loss (the first if equal).
        losses: Weighted log loss of each candidate, blends included.
        corrections: Corrections of its predictions; empty if none helps.
        correction_losses: Its loss with each set of corrections tried, by names joined with
            ``+``; ``none`` is the uncorrected loss.
        blends: ``(members, 6)`` weights of each blend.
    """

    candidate: str
    losses: dict[str, float]
    corrections: tuple[Correction, ...]
    correction_losses: dict[str, float]
    blends: dict[str, Floats]


@dataclass(frozen=True)
class Judgement:
    """Predictions of all candidates for all folds, and the decisions.

    Attributes:
        predictions: ``(N, 6)`` by name: candidates, blends, ``inner_choice``,
            ``prevalence``; no patient took part in fitting or choosing their predictor.
        decisions: Decision for each outer fold, made on the other folds.
        final: Decision on all folds, for new data.
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
    folder: Path | None = None,
) -> Judgement:
    """Predict each fold with all candidates, and with the one chosen on the other folds.

    Args:
        features: N slices.
        labels: ``(N, 6)`` zeros and ones.
        patients: ``(N,)`` patients.
        folds: ``(N,)`` fold of the slice.
        builders: Functions that make an unfitted candidate, by name.
        blends: Member names by name of the blend.
        corrections: Corrections to try on the chosen candidate's predictions.
        folder: Folder for finished fits; see ``fits.fitted``.

    Raises:
        InputError: A patient is in two folds, or there are fewer than three folds.
    """
    numbers = _check_folds(patients, folds)
    constant_classes(labels, "Second level")
    blends = blends or {}
    names = (*builders, *blends, INNER_CHOICE, PREVALENCE)
    result = {name: np.empty(labels.shape) for name in names}
    decisions: dict[int, Decision] = {}
    with fitted(builders, Data(features, labels, patients, folds), folder) as predictions:
        for fold in numbers:
            scored, rest = folds == fold, folds != fold
            views = {name: values.without(fold) for name, values in predictions.items()}
            inside = {name: view[rest].astype(np.float64) for name, view in views.items()}
            decision = decide(inside, labels[rest], folds[rest], blends, corrections)
            outside = {name: view[scored].astype(np.float64) for name, view in views.items()}
            for name, members in blends.items():
                outside[name] = blend([outside[m] for m in members], decision.blends[name])
            outside[INNER_CHOICE] = apply_all(decision.corrections, outside[decision.candidate])
            outside[PREVALENCE] = np.broadcast_to(labels[rest].mean(axis=0), (scored.sum(), 6))
            for name, values in outside.items():
                result[name][scored] = values
            decisions[fold] = decision
            logger.info("Second level, fold %d: %s", fold, _in_words(decision))
    outer = {name: result[name] for name in builders}
    blended = {name: result[name] for name in blends}
    final = decide(outer, labels, folds, blends, corrections, blended)
    logger.info("Second level, all folds: %s", _in_words(final))
    return Judgement(result, decisions, final)


def _check_folds(patients: Groups, folds: Folds) -> list[int]:
    """Return the fold numbers; check that there are at least three and they share no patient."""
    check_patients(patients, folds)
    numbers = [int(fold) for fold in np.unique(folds)]
    if len(numbers) < 3:
        raise InputError(
            "Nested cross-validation of the second level needs at least three folds, but all "
            f"slices are in folds {numbers}. Run the whole graph with at least three folds."
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
    """Choose a candidate and its corrections by out-of-fold loss.

    Blends and calibrations are cross-fitted: learned on all folds but one, scored on that one.

    Args:
        predictions: ``(n, 6)`` by candidate.
        labels: ``(n, 6)``.
        folds: ``(n,)`` fold of the slice.
        blends: Members by name.
        corrections: Corrections to try.
        blended: Out-of-fold ``(n, 6)`` by blend, if already known.
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
    """Choose a calibration, if any, and whether to correct ``any``; return all losses."""
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
    """Apply to each fold what was fitted on the others; values ``(..., n, 6)`` to ``(n, 6)``."""
    result = np.empty(labels.shape)
    for fold in np.unique(folds):
        scored = folds == fold
        learned = fit(values[..., ~scored, :], labels[~scored])
        result[scored] = apply(values[..., scored, :], learned)
    return result


def _in_words(decision: Decision) -> str:
    steps = [f"'{step.kind}'" for step in decision.corrections]
    corrected = f", corrected by {' and '.join(steps)}" if steps else ""
    return f"candidate {decision.candidate}{corrected}"
