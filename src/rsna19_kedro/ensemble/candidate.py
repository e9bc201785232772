"""What every kind of second-level model has in common."""

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble.level1 import FirstLevel, Floats
from rsna19_kedro.ensemble.settings import CandidateSettings
from rsna19_kedro.errors import ModelError
from rsna19_kedro.networks.made_from import REMEDY

logger = logging.getLogger(__name__)

Labels = npt.NDArray[np.integer]
Groups = npt.NDArray[Any]

DESCRIPTION: Final = "candidate.json"
"""File in a saved candidate's folder that says which kind it is and how it was set."""


@dataclass
class Candidate(ABC):
    """A second-level model; ``registry.build`` makes one, ``registry.load_candidate`` reads one.

    Attributes:
        settings: Parameters of its kind.
        seed: Seed of everything random in it.
        models: First-level models that it was fitted on, in their order.
        parts: Other candidates that it is made of, by name.
        trained_on: Digest of the weights behind the predictions that it was fitted on, by model
            and fold, as far as they are recorded.
    """

    settings: CandidateSettings
    seed: int = 0
    models: tuple[str, ...] = ()
    parts: dict[str, "Candidate"] = field(default_factory=dict)
    trained_on: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Name of the kind in parameters, files and the registry."""
        return self.settings.kind

    def fit(self, features: FirstLevel, labels: Labels, groups: Groups) -> None:
        """Learn from first-level predictions of whole studies; at least, which models they are.

        Args:
            features: N slices.
            labels: ``(N, 6)`` zeros and ones.
            groups: ``(N,)`` patients; inner splits never cut through one.
        """
        self.models = features.models

    def check_members(self, weights: Mapping[str, Mapping[str, str]]) -> None:
        """Refuse predictions of other networks than those that it was fitted on.

        Args:
            weights: Digest of the weights behind the predictions, by model and fold.

        Raises:
            ModelError: Names the first model and fold that differ.
        """
        for model, by_fold in weights.items():
            fitted = self.trained_on.get(model, {})
            for fold, digest in by_fold.items():
                if fitted.get(fold, digest) != digest:
                    raise ModelError(
                        f"The second level was fitted to predictions of another {model} of fold "
                        f"{fold}: the network was trained again since then. {REMEDY}"
                    )

    @abstractmethod
    def predict(self, features: FirstLevel) -> Floats:
        """Probabilities ``(N, 6)`` in 0..1; whole studies, any order of rows."""

    def save(self, folder: Path) -> None:
        """Write everything into an existing folder, each part in a subfolder; no pickles."""
        content = {
            "kind": self.kind,
            "settings": self.settings.model_dump(),
            "seed": self.seed,
            "models": self.models,
            "parts": list(self.parts),
            "trained_on": self.trained_on,
            "learned": self.write_learned(folder),
        }
        (folder / DESCRIPTION).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        for number, part in enumerate(self.parts.values()):
            (folder / f"part_{number}").mkdir()
            part.save(folder / f"part_{number}")

    def write_learned(self, folder: Path) -> dict[str, Any]:
        """Return what ``fit`` learned as JSON can hold it; what cannot goes into files."""
        return {}

    def read_learned(self, learned: dict[str, Any], folder: Path) -> None:
        """Take over what ``write_learned`` returned and wrote."""
        vars(self).update(learned)


def constant_classes(labels: Labels, who: str) -> Floats:
    """Return what to predict for classes that the labels show on no slice or on every one.

    Args:
        labels: ``(N, 6)`` zeros and ones.
        who: Named in the warning about such classes.

    Returns:
        ``(6,)``: NaN for a class that can be learned, else the constant by the rule of
        succession, ``(positives + 1) / (slices + 2)``.
    """
    positives = np.asarray(labels).sum(axis=0, dtype=np.float64)
    mixed = (positives > 0) & (positives < len(labels))
    for place in np.flatnonzero(~mixed):
        logger.warning(
            "%s: %s slice shows %s, so nothing can be learned of it.",
            *(who, "every" if positives[place] else "no", CLASSES[place]),
        )
    return np.where(mixed, np.nan, (positives + 1.0) / (len(labels) + 2.0))
