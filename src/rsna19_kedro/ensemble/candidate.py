"""What every second-level model looks like from outside."""

import json
import logging
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol, Self

import numpy as np
import numpy.typing as npt

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble.level1 import FirstLevel
from rsna19_kedro.errors import InputError

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer]
Groups = npt.NDArray[Any]

DESCRIPTION: Final = "candidate.json"
"""File in a saved candidate's folder that says which kind it is and how it was set."""


class Candidate(Protocol):
    """A second-level model; ``kind`` names its class in files and parameters."""

    kind: ClassVar[str]

    def fit(self, features: FirstLevel, labels: Labels, groups: Groups) -> None:
        """Learn from first-level predictions of whole studies.

        Args:
            features: N slices.
            labels: ``(N, 6)`` zeros and ones.
            groups: ``(N,)`` patients; inner splits never cut through one.
        """
        ...

    def predict(self, features: FirstLevel) -> Floats:
        """Probabilities ``(N, 6)`` in 0..1; whole studies, any order of rows."""
        ...

    def save(self, folder: Path) -> None:
        """Write everything that ``load`` needs into an existing folder; nothing is pickled."""
        ...

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        ...


def write_description(folder: Path, kind: str, content: dict[str, Any]) -> None:
    """Write the JSON file that a saved candidate is recognised by."""
    text = json.dumps({"kind": kind, **content}, indent=1)
    (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def read_description(folder: Path) -> dict[str, Any]:
    """Read a saved candidate's JSON file.

    Raises:
        InputError: The folder holds no candidate.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise InputError(
            f"No second-level model in {folder}: {DESCRIPTION} is missing. Run the pipeline "
            "stacking, which writes it."
        )
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def constant_classes(labels: Labels, who: str) -> Floats:
    """Say what to predict for classes that the labels show on no slice or on every one.

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
