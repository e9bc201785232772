"""A convex combination of other candidates."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble.candidate import (
    Candidate,
    Floats,
    Groups,
    Labels,
    constant_classes,
    read_description,
    write_description,
)
from rsna19_kedro.ensemble.level1 import FirstLevel
from rsna19_kedro.ensemble.simplex import combine, fit_simplex
from rsna19_kedro.ensemble.splits import inner_folds
from rsna19_kedro.strict import Strict

_EPS = 1e-5
"""Blended predictions stay this far from 0 and 1."""

Builders = Mapping[str, Callable[[], Candidate]]


class BlendSettings(Strict):
    """Convex combination of other candidates.

    Attributes:
        kind: Always blend.
        members: Names of the candidates; ``None`` takes all that are no blends.
        inner_folds: Parts of the patients for the predictions that the weights are learned
            from, where there are none yet: the pipeline shares those of its judgement.
    """

    kind: Literal["blend"] = "blend"
    members: tuple[str, ...] | None = Field(None, min_length=1)
    inner_folds: int = Field(5, ge=2)


@dataclass
class BlendCandidate:
    """Simplex weights, a class each, over predictions that the members make out of fold.

    Attributes:
        builders: Make the members, by name; not needed once it is fitted.
        inner_folds: Parts of the patients for the members' predictions.
        seed: Seed of the parts.
        weights: ``(members, 6)`` non-negative, columns sum to 1; given, they are kept and
            ``fit`` only fits the members.
        members: The fitted candidates.
    """

    kind: ClassVar[str] = "blend"
    builders: Builders = field(default_factory=dict)
    inner_folds: int = 5
    seed: int = 0
    weights: Floats | None = None
    members: dict[str, Candidate] = field(default_factory=dict)

    def fit(self, features: FirstLevel, labels: Labels, groups: Groups) -> None:
        """Learn the weights from inner out-of-fold predictions, then fit members on all."""
        if self.weights is None:
            part = inner_folds(groups, self.inner_folds, self.seed)
            predictions = [
                out_of_part(build, features, labels, groups, part)
                for build in self.builders.values()
            ]
            self.weights = blend_weights(predictions, labels)
        for name, build in self.builders.items():
            self.members[name] = build()
            self.members[name].fit(features, labels, groups)

    def predict(self, features: FirstLevel) -> Floats:
        """Combine the members' predictions, ``(N, 6)``."""
        assert self.weights is not None
        return blend([member.predict(features) for member in self.members.values()], self.weights)

    def save(self, folder: Path) -> None:
        """Write the weights, and each member in a folder of its own."""
        assert self.weights is not None
        weights = dict(zip(self.members, self.weights.tolist(), strict=True))
        write_description(folder, self.kind, {"classes": CLASSES, "weights": weights})
        for number, member in enumerate(self.members.values()):
            (folder / f"member_{number}").mkdir()
            member.save(folder / f"member_{number}")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        from rsna19_kedro.ensemble.registry import load_candidate

        weights = read_description(folder)["weights"]
        members = {
            name: load_candidate(folder / f"member_{number}") for number, name in enumerate(weights)
        }
        return cls(weights=np.array(list(weights.values())), members=members)


def out_of_part(
    build: Callable[[], Candidate],
    features: FirstLevel,
    labels: Labels,
    groups: Groups,
    part: npt.NDArray[np.integer],
) -> Floats:
    """Predict each part ``(N,)`` by a candidate fitted on the others; one part is its own."""
    result = np.empty(np.shape(labels))
    numbers = np.unique(part)
    for number in numbers:
        scored = part == number
        learned = ~scored if len(numbers) > 1 else scored
        candidate = build()
        candidate.fit(features.take(learned), labels[learned], groups[learned])
        result[scored] = candidate.predict(features.take(scored))
    return result


def blend_weights(predictions: list[Floats], labels: Labels) -> Floats:
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


def blend(predictions: list[Floats], weights: Floats) -> Floats:
    """Combine ``(N, 6)`` predictions by ``(members, 6)`` weights, class by class."""
    columns = [
        combine(np.stack([m[:, place] for m in predictions], axis=1), weights[:, place], _EPS)
        for place in range(len(CLASSES))
    ]
    return np.stack(columns, axis=1)
