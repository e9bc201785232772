"""Candidates: the plain mean of the models and the optimal convex combination."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble.candidate import Candidate, Floats, Groups, Labels
from rsna19_kedro.ensemble.features import feature_names, window_features
from rsna19_kedro.ensemble.level1 import SEPARATOR, FirstLevel
from rsna19_kedro.ensemble.settings import Beyond, CandidateSettings, WindowOptions
from rsna19_kedro.ensemble.simplex import combine, fit_classes

logger = logging.getLogger(__name__)


class MeanSettings(CandidateSettings):
    """Plain mean of the models."""

    kind: Literal["mean"] = "mean"


@dataclass
class MeanCandidate(Candidate):
    """Plain mean of the first-level models; the reference for all other candidates."""

    settings: MeanSettings = field(default_factory=MeanSettings)

    def predict(self, features: FirstLevel) -> Floats:
        """Return the mean over the models, ``(N, 6)``."""
        return features.ordered(self.models).predictions.mean(axis=1, dtype=np.float64)


class SimplexSettings(CandidateSettings):
    """Convex combination of the predictions in a window of slices.

    Attributes:
        kind: Always simplex.
        radius: Number of neighbouring slices on either side (reference: 2).
        beyond: Padding at the ends of a study: ``zeros`` (reference) or ``edge``.
        eps: Minimum distance of predictions from 0 and 1 (reference: 1e-5 in the submission).
        gap: Certified maximum distance of the loss of a class from its optimum.
    """

    kind: Literal["simplex"] = "simplex"
    radius: int = Field(2, ge=0, le=9)
    beyond: Beyond = "zeros"
    eps: float = Field(1e-5, gt=0, lt=0.01)
    gap: float = Field(1e-6, gt=0)

    @property
    def window(self) -> WindowOptions:
        """Window of the features."""
        return WindowOptions(radius=self.radius, beyond=self.beyond)


@dataclass
class SimplexCandidate(Candidate):
    """The convex combination of lowest log loss for each class (docs/reference.md#second-level).

    Attributes:
        weights: ``(F, 6)`` non-negative, columns sum to 1, once fitted; the predictions of
            all models and all six classes in the window may contribute to each class.
        certificates: Loss and duality gap of each class on the fitted slices.
    """

    cost: ClassVar[float] = 0.1
    settings: SimplexSettings = field(default_factory=SimplexSettings)
    weights: Floats = field(default_factory=lambda: np.empty((0, len(CLASSES))))
    certificates: dict[str, dict[str, float]] = field(default_factory=dict)

    def fit(self, features: FirstLevel, labels: Labels, groups: Groups) -> None:
        """Solve each class to the optimum."""
        windows = window_features(features, self.settings.window)
        for name, positives in zip(CLASSES, labels.sum(axis=0), strict=True):
            if not positives:
                logger.warning("No slice shows %s: the weights favour low predictions.", name)
        chosen = self.settings
        solutions = fit_classes(
            windows, labels, eps=chosen.eps, gap=chosen.gap, threads=self.threads
        )
        self.models = features.models
        self.weights = np.stack([solution.weights for solution in solutions], axis=1)
        self.certificates = {
            name: {"loss": solution.loss, "gap": solution.gap}
            for name, solution in zip(CLASSES, solutions, strict=True)
        }

    def predict(self, features: FirstLevel) -> Floats:
        """Combine the predictions in each window, ``(N, 6)`` in ``[eps, 1 - eps]``."""
        windows = window_features(features.ordered(self.models), self.settings.window)
        return combine(windows, self.weights, self.settings.eps)

    def weights_table(self) -> pd.DataFrame:
        """Return the weights with model, class and offset.

        Returns:
            One row per feature, named by the index ``<model>|<class>|<offset>``: ``model``,
            ``source`` (the class that the model predicts), ``offset`` in slices, and a weight
            for each class; the weights of a class sum to 1.
        """
        names = pd.Index(feature_names(self.models, self.settings.window), name="feature")
        parts = [name.split(SEPARATOR) for name in names]
        table = pd.DataFrame(parts, columns=["model", "source", "offset"], index=names)
        weights = pd.DataFrame(self.weights, columns=list(CLASSES), index=names)
        return pd.concat([table.astype({"offset": int}), weights], axis=1)

    def write_learned(self, folder: Path) -> dict[str, Any]:
        """Return weights by feature and certificates; floats keep all digits."""
        names = feature_names(self.models, self.settings.window)
        weights = dict(zip(names, self.weights.tolist(), strict=True))
        return {"classes": CLASSES, "certificates": self.certificates, "weights": weights}

    def read_learned(self, learned: dict[str, Any], folder: Path) -> None:
        """Restore weights and certificates."""
        self.weights = np.array(list(learned["weights"].values())).reshape(-1, len(CLASSES))
        self.certificates = learned["certificates"]
