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
"""Blended predictions stay this far from 0 and 1."""


class BlendSettings(CandidateSettings):
    """Convex combination of other candidates.

    Attributes:
        kind: Always blend.
        members: Names of the candidates; ``None`` takes all that are no blends.
    """

    kind: Literal["blend"] = "blend"
    members: tuple[str, ...] | None = Field(None, min_length=1)


@dataclass
class BlendCandidate(Candidate):
    """Simplex weights per class over the predictions of other candidates, its parts.

    Attributes:
        weights: ``(members, 6)`` non-negative, columns sum to 1; from ``blend_weights``. They
            are known before ``fit``, because they are to be learned out of fold.
    """

    settings: BlendSettings = field(default_factory=BlendSettings)
    weights: Floats = field(default_factory=lambda: np.empty((0, len(CLASSES))))

    def fit(self, features: FirstLevel, labels: Labels, groups: Groups) -> None:
        """Fit the members; the weights stay."""
        for member in self.parts.values():
            member.fit(features, labels, groups)

    def predict(self, features: FirstLevel) -> Floats:
        """Combine the members' predictions, ``(N, 6)``."""
        return blend([member.predict(features) for member in self.parts.values()], self.weights)

    def write_learned(self, folder: Path) -> dict[str, Any]:
        """The weights by member."""
        weights = dict(zip(self.parts, self.weights.tolist(), strict=True))
        return {"classes": CLASSES, "weights": weights}

    def read_learned(self, learned: dict[str, Any], folder: Path) -> None:
        """Take the weights in the order in which they were written."""
        self.weights = np.array(list(learned["weights"].values()))


def blend_members(candidates: Mapping[str, CandidateSettings]) -> dict[str, tuple[str, ...]]:
    """Names of the members of each blend, among settings by name."""
    every = tuple(name for name, one in candidates.items() if not isinstance(one, BlendSettings))
    return {
        name: one.members or every
        for name, one in candidates.items()
        if isinstance(one, BlendSettings)
    }


def blend_weights(predictions: Sequence[Floats] | Floats, labels: Labels) -> Floats:
    """Weights of lowest log loss.

    Args:
        predictions: ``(N, 6)`` of each member, of slices that it was not fitted on.
        labels: ``(N, 6)`` zeros and ones.

    Returns:
        ``(members, 6)`` non-negative, columns sum to 1; equal weights for a class that the
        labels show on no slice or on every one.
    """
    truth = np.asarray(labels)
    weights = np.full((len(predictions), len(CLASSES)), 1.0 / len(predictions))
    for place in np.flatnonzero(np.isnan(constant_classes(truth, "Blend"))):
        views = np.stack([member[:, place] for member in predictions], axis=1)
        found = fit_simplex(views.astype(np.float32), truth[:, place] > 0, eps=_EPS)
        weights[:, place] = found.weights
    return weights


def blend(predictions: Sequence[Floats] | Floats, weights: Floats) -> Floats:
    """Combine ``(N, 6)`` predictions by ``(members, 6)`` weights, class by class."""
    columns = [
        combine(np.stack([m[:, place] for m in predictions], axis=1), weights[:, place], _EPS)
        for place in range(len(CLASSES))
    ]
    return np.stack(columns, axis=1)
