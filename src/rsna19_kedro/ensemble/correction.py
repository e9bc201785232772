"""Corrections of finished predictions: calibration, and ``any`` consistent with the types."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble.candidate import Candidate, Floats, Groups, Labels
from rsna19_kedro.ensemble.level1 import FirstLevel
from rsna19_kedro.ensemble.settings import CandidateSettings

CorrectionKind = Literal["temperature", "beta", "any"]

_EPS = 1e-6
"""Predictions are drawn in this far from 0 and 1 before a logarithm is taken."""


@dataclass(frozen=True)
class Correction:
    """One step after a candidate; the steps are applied in turn.

    ``temperature`` and ``beta`` (Kull, Silva Filho and Flach, "Beta calibration", 2017) both
    replace p by ``sigmoid(a ln p - b ln(1 - p) + c)``, class by class; a temperature T is
    ``a = b = 1 / T`` and ``c = 0``. ``any`` lifts any haemorrhage to the likeliest type.

    Attributes:
        kind: Which of them.
        a: Slope at 0, a class each; empty for ``any``.
        b: Slope at 1.
        c: Shift.
    """

    kind: CorrectionKind
    a: tuple[float, ...] = ()
    b: tuple[float, ...] = ()
    c: tuple[float, ...] = ()

    def apply(self, predictions: Floats) -> Floats:
        """Correct ``(N, 6)`` probabilities."""
        if self.kind == "any":
            result = predictions.copy()
            result[:, -1] = predictions.max(axis=1)
            return result
        low, high = _logarithms(predictions)
        return expit(np.array(self.a) * low + np.array(self.b) * high + np.array(self.c))


def fit_correction(kind: CorrectionKind, predictions: Floats, labels: Labels) -> Correction:
    """Find the calibration of lowest log loss; there is nothing to find for ``any``.

    Args:
        kind: Which correction.
        predictions: ``(N, 6)`` of slices that the candidate was not fitted on.
        labels: ``(N, 6)`` zeros and ones; a class of one value is left as it is.
    """
    if kind == "any":
        return Correction(kind)
    low, high = _logarithms(predictions)
    truth = np.asarray(labels).astype(np.float64)
    found = np.tile([1.0, 1.0, 0.0], (len(CLASSES), 1))
    for place in np.flatnonzero(np.ptp(truth, axis=0) > 0):
        views = np.stack([low[:, place], high[:, place], np.ones(len(truth))], axis=1)
        found[place] = _least_loss(kind, views, truth[:, place])
    a, b, c = (tuple(float(v) for v in column) for column in found.T)
    return Correction(kind, a, b, c)


def apply_all(corrections: Sequence[Correction], predictions: Floats) -> Floats:
    """Apply the corrections in turn."""
    for correction in corrections:
        predictions = correction.apply(predictions)
    return predictions


class CorrectedSettings(CandidateSettings):
    """Corrections of another candidate's predictions; never listed in the parameters.

    Attributes:
        kind: Always corrected.
        corrections: Known beforehand: they are not to be learned from what the candidate
            was fitted on.
    """

    kind: Literal["corrected"] = "corrected"
    corrections: tuple[Correction, ...] = ()


@dataclass
class CorrectedCandidate(Candidate):
    """A candidate, its part ``base``, and the corrections that its predictions asked for."""

    settings: CorrectedSettings = field(default_factory=CorrectedSettings)

    @property
    def base(self) -> Candidate:
        """The candidate whose predictions are corrected."""
        return self.parts["base"]

    def fit(self, features: FirstLevel, labels: Labels, groups: Groups) -> None:
        """Fit the candidate; the corrections stay."""
        self.base.fit(features, labels, groups)

    def predict(self, features: FirstLevel) -> Floats:
        """Corrected predictions, ``(N, 6)``."""
        return apply_all(self.settings.corrections, self.base.predict(features))


def _logarithms(predictions: Floats) -> tuple[Floats, Floats]:
    """``ln p`` and ``-ln(1 - p)``."""
    drawn = np.clip(predictions, _EPS, 1.0 - _EPS)
    return np.log(drawn), -np.log1p(-drawn)


def _least_loss(kind: str, views: Floats, truth: Floats) -> Floats:
    """``a, b, c`` of one class: convex, with ``a, b >= 0`` so that order is kept."""
    mixing = np.eye(3) if kind == "beta" else np.array([[1.0, 1.0, 0.0]])

    def loss(free: Floats) -> tuple[float, Floats]:
        logit = views @ (free @ mixing)
        value = float(np.mean(np.logaddexp(0.0, logit) - truth * logit))
        slope: Floats = mixing @ (views.T @ (expit(logit) - truth)) / len(truth)
        return value, slope

    start = np.array([1.0, 1.0, 0.0])[: len(mixing)]
    bounds = [(0.0, None), (0.0, None), (None, None)][: len(mixing)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    result: Floats = found.x @ mixing
    return result
