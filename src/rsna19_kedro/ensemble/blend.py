"""A convex combination of other candidates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble.candidate import Candidate, Floats, Groups, Labels, constant_classes
from rsna19_kedro.ensemble.level1 import FirstLevel
from rsna19_kedro.ensemble.settings import CandidateSettings
from rsna19_kedro.ensemble.simplex import combine, fit_simplex

_EPS = 1e-5
"""Minimum distance of blended predictions from 0 and 1."""


class BlendSettings(CandidateSettings):
    """Convex combination of other candidates.

    Attributes:
        kind: Always blend.
        members: Names of the candidates; ``None`` uses all that are not blends.
    """

    kind: Literal["blend"] = "blend"
    members: tuple[str, ...] | None = Field(None, min_length=1)


@dataclass
class BlendCandidate(Candidate):
    """Simplex weights per class over the predictions of other candidates (its parts).

    Attributes:
        weights: ``(members, 6)`` non-negative, columns sum to 1; from ``blend_weights``, set
            before ``fit`` because they are learned from out-of-fold predictions.
    """

    settings: BlendSettings = field(default_factory=BlendSettings)
    weights: Floats = field(default_factory=lambda: np.empty((0, len(CLASSES))))

    def fit(self, features: FirstLevel, labels: Labels, groups: Groups) -> None:
        """Fit the members; the weights stay fixed."""
        for member in self.parts.values():
            member.fit(features, labels, groups)

    def predict(self, features: FirstLevel) -> Floats:
        """Combine the members' predictions, ``(N, 6)``."""
        return blend([member.predict(features) for member in self.parts.values()], self.weights)

    def write_learned(self, folder: Path) -> dict[str, Any]:
        """Return the weights by member."""
        weights = dict(zip(self.parts, self.weights.tolist(), strict=True))
        return {"classes": CLASSES, "weights": weights}

    def read_learned(self, learned: dict[str, Any], folder: Path) -> None:
        """Restore the weights."""
        self.weights = np.array(list(learned["weights"].values()))


def blend_members(candidates: Mapping[str, CandidateSettings]) -> dict[str, tuple[str, ...]]:
    """Return the member names of each blend."""
    base = tuple(name for name, s in candidates.items() if not isinstance(s, BlendSettings))
    return {
        name: settings.members or base
        for name, settings in candidates.items()
        if isinstance(settings, BlendSettings)
    }


def blend_weights(predictions: Sequence[Floats] | Floats, labels: Labels) -> Floats:
    """Find the weights of lowest log loss.

    Args:
        predictions: Out-of-fold ``(N, 6)`` of each member.
        labels: ``(N, 6)`` zeros and ones.

    Returns:
        ``(members, 6)`` non-negative, columns sum to 1; equal weights for a class with the
        same label on every slice.
    """
    truth = np.asarray(labels)
    weights = np.full((len(predictions), len(CLASSES)), 1.0 / len(predictions))
    for column in np.flatnonzero(np.isnan(constant_classes(truth, "Blend"))):
        values = np.stack([member[:, column] for member in predictions], axis=1)
        solution = fit_simplex(values.astype(np.float32), truth[:, column] > 0, eps=_EPS)
        weights[:, column] = solution.weights
    return weights


def blend(predictions: Sequence[Floats] | Floats, weights: Floats) -> Floats:
    """Combine ``(N, 6)`` predictions by ``(members, 6)`` weights, class by class."""
    columns = [
        combine(np.stack([m[:, k] for m in predictions], axis=1), weights[:, k], _EPS)
        for k in range(len(CLASSES))
    ]
    return np.stack(columns, axis=1)
