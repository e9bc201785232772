"""Base class of second-level models."""

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble.level1 import FirstLevel, Floats
from rsna19_kedro.ensemble.settings import CandidateSettings
from rsna19_kedro.errors import ModelError
from rsna19_kedro.networks.made_from import remedy
from rsna19_kedro.parallel import available_cores

logger = logging.getLogger(__name__)

Labels = npt.NDArray[np.integer]
Groups = npt.NDArray[Any]

DESCRIPTION: Final = "candidate.json"
"""File in the folder of a saved candidate with its kind and settings."""


@dataclass
class Candidate(ABC):
    """A second-level model; see ``registry.build`` and ``registry.load_candidate``.

    Attributes:
        settings: Settings of its kind.
        seed: Random seed.
        models: First-level models that it was fitted on, in order.
        parts: Candidates that it consists of, by name.
        trained_on: Digests of the network weights whose predictions it was fitted on, by model
            and fold, where recorded.
        augmentations: Test-time augmentations of these predictions, by model, where recorded.
        threads: CPU threads for ``fit``, unless the settings give a number.
        stop: Once set, ``fit`` may end early with a result that is not used.
        is_network: Whether it uses PyTorch, whose random state all fits of a process share.
        cost: Estimated duration of a fit; only comparisons matter.
    """

    is_network: ClassVar[bool] = False
    cost: ClassVar[float] = 0.01
    settings: CandidateSettings
    seed: int = 0
    models: tuple[str, ...] = ()
    parts: dict[str, "Candidate"] = field(default_factory=dict)
    trained_on: dict[str, dict[str, str]] = field(default_factory=dict)
    augmentations: dict[str, list[str]] = field(default_factory=dict)
    threads: int = field(default_factory=available_cores)
    stop: Event = field(default_factory=Event, repr=False)

    @property
    def kind(self) -> str:
        """Name of the kind in parameters, files and the registry."""
        return self.settings.kind

    def fit(self, features: FirstLevel, labels: Labels, groups: Groups) -> None:
        """Fit on first-level predictions of whole studies; the base class only stores the models.

        Args:
            features: N slices.
            labels: ``(N, 6)`` zeros and ones.
            groups: ``(N,)`` patients; inner splits keep patients together.
        """
        self.models = features.models

    def all_parts(self) -> Iterator["Candidate"]:
        """Yield this candidate, its parts and theirs."""
        yield self
        for part in self.parts.values():
            yield from part.all_parts()

    def check_members(self, weights: Mapping[str, Mapping[str, str]]) -> None:
        """Refuse predictions of networks other than those that it was fitted on.

        Args:
            weights: Digests of the network weights of the predictions, by model and fold.

        Raises:
            ModelError: The weights differ; the message names the first model and fold.
        """
        for model, by_fold in weights.items():
            fitted = self.trained_on.get(model, {})
            for fold, digest in by_fold.items():
                if fitted.get(fold, digest) != digest:
                    raise ModelError(
                        f"The second level was fitted on predictions of an earlier {model}, fold "
                        f"{fold}: the network has been retrained since. {remedy()}"
                    )

    @abstractmethod
    def predict(self, features: FirstLevel) -> Floats:
        """Predict probabilities ``(N, 6)`` of whole studies, with rows in any order."""

    def save(self, folder: Path) -> None:
        """Save into an existing folder, each part in a subfolder, without pickles."""
        content = {
            "kind": self.kind,
            "settings": self.settings.model_dump(),
            "seed": self.seed,
            "models": self.models,
            "parts": list(self.parts),
            "trained_on": self.trained_on,
            "augmentations": self.augmentations,
            "learned": self.write_learned(folder),
        }
        (folder / DESCRIPTION).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        for number, part in enumerate(self.parts.values()):
            (folder / f"part_{number}").mkdir()
            part.save(folder / f"part_{number}")

    def write_learned(self, folder: Path) -> dict[str, Any]:
        """Return the fitted state as JSON; write the rest to files in the folder."""
        return {}

    def read_learned(self, learned: dict[str, Any], folder: Path) -> None:
        """Restore the fitted state from ``write_learned``."""
        vars(self).update(learned)


def constant_classes(labels: Labels, name: str) -> Floats:
    """Return constant predictions for classes with the same label on every slice.

    Args:
        labels: ``(N, 6)`` zeros and ones.
        name: Name of the model in the warning.

    Returns:
        ``(6,)``: NaN for a class that can be learned, else the constant by the rule of
        succession, ``(positives + 1) / (slices + 2)``.
    """
    positives = np.asarray(labels).sum(axis=0, dtype=np.float64)
    mixed = (positives > 0) & (positives < len(labels))
    for index in np.flatnonzero(~mixed):
        logger.warning(
            "%s: %s slice shows %s, so this class cannot be learned.",
            *(name, "every" if positives[index] else "no", CLASSES[index]),
        )
    return np.where(mixed, np.nan, (positives + 1.0) / (len(labels) + 2.0))
