"""Candidates that average with weights: by validation loss, and along the slices."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from rsna19_kedro.ensemble.candidate import (
    Floats,
    Groups,
    Labels,
    read_description,
    write_description,
)
from rsna19_kedro.ensemble.features import neighbours
from rsna19_kedro.ensemble.level1 import FirstLevel
from rsna19_kedro.evaluation.metrics import weighted_log_loss
from rsna19_kedro.strict import Strict


class WeightedMeanSettings(Strict):
    """Mean of the models, weighted by inverse validation loss."""

    kind: Literal["weighted_mean"] = "weighted_mean"

    def build(self, seed: int) -> "WeightedMeanCandidate":
        """Make a candidate that is not fitted yet; nothing in it is random."""
        return WeightedMeanCandidate()


@dataclass
class WeightedMeanCandidate:
    """Mean of the models, each weighted by the inverse of its loss (reference, section 6).

    Attributes:
        weights: Weight by model, in their order, once fitted; they sum to 1.
    """

    kind: ClassVar[str] = "weighted_mean"
    weights: dict[str, float] = field(default_factory=dict)

    def fit(self, features: FirstLevel, labels: Labels, groups: Groups) -> None:
        """Score each model: first-level predictions are of slices that it has not seen."""
        losses = [
            weighted_log_loss(labels, features.predictions[:, place])
            for place in range(len(features.models))
        ]
        inverse = 1.0 / np.maximum(losses, 1e-9)
        self.weights = dict(zip(features.models, (inverse / inverse.sum()).tolist(), strict=True))

    def predict(self, features: FirstLevel) -> Floats:
        """Weighted mean over the models, ``(N, 6)``."""
        ordered = features.ordered(tuple(self.weights)).predictions
        return np.einsum("nmc,m->nc", ordered, np.array(list(self.weights.values())))

    def save(self, folder: Path) -> None:
        """Write the weights."""
        write_description(folder, self.kind, {"weights": self.weights})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        return cls(weights=read_description(folder)["weights"])


class GaussianSettings(Strict):
    """Mean of the models, smoothed along the slices (reference, section 6: 0.7 over 5).

    Attributes:
        kind: Always gaussian.
        std: Standard deviation of the weights, in slices.
        radius: Slices on either side that take part.
    """

    kind: Literal["gaussian"] = "gaussian"
    std: float = Field(0.7, gt=0)
    radius: int = Field(2, ge=1, le=9)

    def build(self, seed: int) -> "GaussianCandidate":
        """Make a candidate that is not fitted yet; nothing in it is random."""
        return GaussianCandidate(self.std, self.radius)


@dataclass
class GaussianCandidate:
    """Mean of the models, averaged over neighbouring slices with Gaussian weights.

    Neighbours are found by slice number: a number that the study lacks, and what lies
    beyond its ends, gives its weight to the slices that are there.
    """

    kind: ClassVar[str] = "gaussian"
    std: float = 0.7
    radius: int = 2
    models: tuple[str, ...] = ()

    def fit(self, features: FirstLevel, labels: Labels, groups: Groups) -> None:
        """Remember which models are averaged; there is nothing to learn."""
        self.models = features.models

    def predict(self, features: FirstLevel) -> Floats:
        """Smoothed mean over the models, ``(N, 6)``."""
        mean = features.ordered(self.models).predictions.mean(axis=1, dtype=np.float64)
        rows = neighbours(features.study, features.slice_num, self.radius)
        total, weight = np.zeros_like(mean), np.zeros((len(mean), 1))
        for place, offset in enumerate(range(-self.radius, self.radius + 1)):
            there = rows[:, place] >= 0
            share = np.exp(-0.5 * (offset / self.std) ** 2)
            total[there] += share * mean[rows[there, place]]
            weight[there] += share
        return total / np.maximum(weight, np.finfo(np.float64).tiny)

    def save(self, folder: Path) -> None:
        """Write the settings and the models' names."""
        content = {"std": self.std, "radius": self.radius, "models": self.models}
        write_description(folder, self.kind, content)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        content = read_description(folder)
        return cls(content["std"], content["radius"], tuple(content["models"]))
