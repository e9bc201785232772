"""Corrections of predictions: calibration, and consistency of ``any`` with the types."""

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
"""Predictions are clipped to ``[_EPS, 1 - _EPS]`` before the logarithm."""


@dataclass(frozen=True)
class Correction:
    """One correction step; several are applied in sequence.

    ``temperature`` and ``beta`` (Kull, Silva Filho and Flach, "Beta calibration", 2017) both
    replace p by ``sigmoid(a ln p - b ln(1 - p) + c)``, class by class; a temperature T is
    ``a = b = 1 / T`` and ``c = 0``. ``any`` raises any to the maximum over the types.

    Attributes:
        kind: Kind of correction.
        a: Slope at 0 per class; empty for ``any``.
        b: Slope at 1 per class.
        c: Shift per class.
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
    """Fit the calibration of lowest log loss; ``any`` has no parameters.

    Args:
        kind: Kind of correction.
        predictions: Out-of-fold ``(N, 6)``.
        labels: ``(N, 6)`` zeros and ones; a class with equal labels stays unchanged.
    """
    if kind == "any":
        return Correction(kind)
    low, high = _logarithms(predictions)
    truth = np.asarray(labels).astype(np.float64)
    parameters = np.tile([1.0, 1.0, 0.0], (len(CLASSES), 1))
    for column in np.flatnonzero(np.ptp(truth, axis=0) > 0):
        inputs = np.stack([low[:, column], high[:, column], np.ones(len(truth))], axis=1)
        parameters[column] = _least_loss(kind, inputs, truth[:, column])
    a, b, c = (tuple(float(v) for v in column) for column in parameters.T)
    return Correction(kind, a, b, c)


def apply_all(corrections: Sequence[Correction], predictions: Floats) -> Floats:
    """Apply the corrections in sequence."""
    for correction in corrections:
        predictions = correction.apply(predictions)
    return predictions


class CorrectedSettings(CandidateSettings):
    """Corrections of another candidate's predictions; not allowed in the parameters.

    Attributes:
        kind: Always corrected.
        corrections: Set before ``fit``, because they are learned from out-of-fold predictions.
    """

    kind: Literal["corrected"] = "corrected"
    corrections: tuple[Correction, ...] = ()


@dataclass
class CorrectedCandidate(Candidate):
    """A candidate (its part ``base``) with corrections of its predictions."""

    settings: CorrectedSettings = field(default_factory=CorrectedSettings)

    @property
    def base(self) -> Candidate:
        """The candidate whose predictions are corrected."""
        return self.parts["base"]

    def fit(self, features: FirstLevel, labels: Labels, groups: Groups) -> None:
        """Fit the candidate; the corrections stay fixed."""
        self.base.fit(features, labels, groups)

    def predict(self, features: FirstLevel) -> Floats:
        """Return corrected predictions, ``(N, 6)``."""
        return apply_all(self.settings.corrections, self.base.predict(features))


def _logarithms(predictions: Floats) -> tuple[Floats, Floats]:
    """``ln p`` and ``-ln(1 - p)``."""
    clipped = np.clip(predictions, _EPS, 1.0 - _EPS)
    return np.log(clipped), -np.log1p(-clipped)


def _least_loss(kind: str, inputs: Floats, truth: Floats) -> Floats:
    """Fit ``a, b, c`` of one class: a convex problem, monotonic by ``a, b >= 0``."""
    mixing = np.eye(3) if kind == "beta" else np.array([[1.0, 1.0, 0.0]])

    def loss(free: Floats) -> tuple[float, Floats]:
        logit = inputs @ (free @ mixing)
        value = float(np.mean(np.logaddexp(0.0, logit) - truth * logit))
        slope: Floats = mixing @ (inputs.T @ (expit(logit) - truth)) / len(truth)
        return value, slope

    start = np.array([1.0, 1.0, 0.0])[: len(mixing)]
    bounds = [(0.0, None), (0.0, None), (None, None)][: len(mixing)]
    solution = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
    result: Floats = solution.x @ mixing
    return result
