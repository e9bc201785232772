"""Candidates that average: the plain mean of the models and the optimal convex combination."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble.candidate import (
    Floats,
    Groups,
    Labels,
    read_description,
    write_description,
)
from rsna19_kedro.ensemble.features import feature_names, window_features
from rsna19_kedro.ensemble.level1 import FirstLevel
from rsna19_kedro.ensemble.settings import Beyond, WindowOptions
from rsna19_kedro.ensemble.simplex import combine, fit_classes
from rsna19_kedro.strict import Strict

logger = logging.getLogger(__name__)


class MeanSettings(Strict):
    """Plain mean of the models."""

    kind: Literal["mean"] = "mean"

    def build(self, seed: int) -> "MeanCandidate":
        """Make a candidate that is not fitted yet."""
        return MeanCandidate()


class SimplexSettings(Strict):
    """Convex combination of the window's predictions.

    Attributes:
        kind: Always simplex.
        radius: Slices on either side.
        beyond: ``zeros`` or ``edge`` beyond the ends of a study.
        eps: Predictions stay this far from 0 and 1.
        gap: Certified distance to the lowest loss.
    """

    kind: Literal["simplex"] = "simplex"
    radius: int = Field(2, ge=0, le=9)
    beyond: Beyond = "zeros"
    eps: float = Field(1e-5, gt=0, lt=0.01)
    gap: float = Field(1e-6, gt=0)

    def build(self, seed: int) -> "SimplexCandidate":
        """Make a candidate that is not fitted yet; nothing in it is random."""
        return SimplexCandidate(self.radius, self.beyond, self.eps, self.gap)


@dataclass
class MeanCandidate:
    """Plain mean of the first-level models; what every other candidate is measured against."""

    kind: ClassVar[str] = "mean"
    models: tuple[str, ...] = ()

    def fit(self, features: FirstLevel, labels: Labels, groups: Groups) -> None:
        """Remember which models are averaged; there is nothing to learn."""
        self.models = features.models

    def predict(self, features: FirstLevel) -> Floats:
        """Mean over the models, ``(N, 6)``."""
        return features.ordered(self.models).predictions.mean(axis=1, dtype=np.float64)

    def save(self, folder: Path) -> None:
        """Write the models' names."""
        write_description(folder, self.kind, {"models": self.models})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        return cls(models=tuple(read_description(folder)["models"]))


@dataclass
class SimplexCandidate:
    """For each class the convex combination of lowest log loss (reference, section 6).

    Attributes:
        radius: Slices on either side whose predictions take part (reference: 2).
        beyond: What stands beyond the ends of a study (reference: zeros).
        eps: Predictions stay this far from 0 and 1 (reference: 1e-5 in the submission).
        gap: Certified distance of every class's loss to its optimum.
        models: First-level models, once fitted.
        weights: ``(F, 6)`` non-negative, columns sum to 1, once fitted; all windows' values
            of all models and all six classes may contribute to each class.
        certificates: Loss and duality gap of each class on the fitted slices.
    """

    kind: ClassVar[str] = "simplex"
    radius: int = 2
    beyond: Beyond = "zeros"
    eps: float = 1e-5
    gap: float = 1e-6
    models: tuple[str, ...] = ()
    weights: Floats = field(default_factory=lambda: np.empty((0, len(CLASSES))))
    certificates: dict[str, dict[str, float]] = field(default_factory=dict)

    def fit(self, features: FirstLevel, labels: Labels, groups: Groups) -> None:
        """Solve each class to the optimum."""
        windows = window_features(features, self._options())
        truth = np.asarray(labels)
        for name, positives in zip(CLASSES, truth.sum(axis=0), strict=True):
            if not positives:
                logger.warning("No slice shows %s: its weights favour what predicts least.", name)
        solutions = fit_classes(windows, truth, eps=self.eps, gap=self.gap)
        self.models = features.models
        self.weights = np.stack([solution.weights for solution in solutions], axis=1)
        self.certificates = {
            name: {"loss": solution.loss, "gap": solution.gap}
            for name, solution in zip(CLASSES, solutions, strict=True)
        }

    def predict(self, features: FirstLevel) -> Floats:
        """Combine the windows' predictions, ``(N, 6)`` in ``[eps, 1 - eps]``."""
        windows = window_features(features.ordered(self.models), self._options())
        return combine(windows, self.weights, self.eps)

    def _options(self) -> WindowOptions:
        return WindowOptions(radius=self.radius, beyond=self.beyond)

    def feature_names(self) -> list[str]:
        """Names ``<model>|<class>|<offset>`` of the rows of ``weights``."""
        return feature_names(self.models, self._options())

    def save(self, folder: Path) -> None:
        """Write settings and weights as JSON; floats keep all their digits."""
        content = {
            "radius": self.radius,
            "beyond": self.beyond,
            "eps": self.eps,
            "gap": self.gap,
            "models": self.models,
            "certificates": self.certificates,
            "classes": CLASSES,
            "weights": dict(zip(self.feature_names(), self.weights.tolist(), strict=True)),
        }
        write_description(folder, self.kind, content)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        content = read_description(folder)
        return cls(
            radius=content["radius"],
            beyond=content["beyond"],
            eps=content["eps"],
            gap=content["gap"],
            models=tuple(content["models"]),
            weights=np.array(list(content["weights"].values())).reshape(-1, len(CLASSES)),
            certificates=content["certificates"],
        )
