"""Candidates that are weighted averages: by validation loss, and along the slices."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from rsna19_kedro.ensemble.candidate import Candidate, Floats, Groups, Labels
from rsna19_kedro.ensemble.features import neighbours
from rsna19_kedro.ensemble.level1 import FirstLevel
from rsna19_kedro.ensemble.settings import CandidateSettings
from rsna19_kedro.evaluation.metrics import weighted_log_loss


class WeightedMeanSettings(CandidateSettings):
    """Mean of the models, weighted by inverse validation loss."""

    kind: Literal["weighted_mean"] = "weighted_mean"


@dataclass
class WeightedMeanCandidate(Candidate):
    """Mean of the models, each weighted by its inverse loss (docs/reference.md#second-level).

    Attributes:
        weights: Weight per model, in their order, once fitted; they sum to 1.
    """

    settings: WeightedMeanSettings = field(default_factory=WeightedMeanSettings)
    weights: dict[str, float] = field(default_factory=dict)

    def fit(self, features: FirstLevel, labels: Labels, groups: Groups) -> None:
        """Score each model; its predictions are out-of-fold."""
        self.models = features.models
        losses = [weighted_log_loss(labels, p) for p in features.predictions.swapaxes(0, 1)]
        inverse = 1.0 / np.maximum(losses, 1e-9)
        self.weights = dict(zip(self.models, (inverse / inverse.sum()).tolist(), strict=True))

    def predict(self, features: FirstLevel) -> Floats:
        """Return the weighted mean over the models, ``(N, 6)``."""
        ordered = features.ordered(self.models).predictions
        return np.einsum("nmc,m->nc", ordered, np.array(list(self.weights.values())))

    def write_learned(self, folder: Path) -> dict[str, Any]:
        """Return the weights by model."""
        return {"weights": self.weights}


class GaussianSettings(CandidateSettings):
    """Mean of the models, smoothed along the slices (docs/reference.md#second-level: 0.7 over 5).

    Attributes:
        kind: Always gaussian.
        std: Standard deviation of the weights, in slices.
        radius: Number of neighbouring slices on either side.
    """

    kind: Literal["gaussian"] = "gaussian"
    std: float = Field(0.7, gt=0)
    radius: int = Field(2, ge=1, le=9)


@dataclass
class GaussianCandidate(Candidate):
    """Mean of the models, averaged over neighbouring slices with Gaussian weights.

    Neighbours are found by slice number. Missing slices, and those outside the study, are
    left out and the remaining weights are normalised.
    """

    settings: GaussianSettings = field(default_factory=GaussianSettings)

    def predict(self, features: FirstLevel) -> Floats:
        """Return the smoothed mean over the models, ``(N, 6)``."""
        mean = features.ordered(self.models).predictions.mean(axis=1, dtype=np.float64)
        radius = self.settings.radius
        rows = neighbours(features.study, features.slice_num, radius)
        total, weight = np.zeros_like(mean), np.zeros((len(mean), 1))
        for column, offset in enumerate(range(-radius, radius + 1)):
            exists = rows[:, column] >= 0
            share = np.exp(-0.5 * (offset / self.settings.std) ** 2)
            total[exists] += share * mean[rows[exists, column]]
            weight[exists] += share
        return total / np.maximum(weight, np.finfo(np.float64).tiny)
