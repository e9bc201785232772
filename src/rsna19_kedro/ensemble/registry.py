"""All kinds of second-level models, and reading any of them back."""

from importlib import import_module
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from rsna19_kedro.ensemble.candidate import Candidate, read_description
from rsna19_kedro.errors import InputError

KINDS: Final = {
    "mean": "combination.MeanCandidate",
    "weighted_mean": "averages.WeightedMeanCandidate",
    "gaussian": "averages.GaussianCandidate",
    "simplex": "combination.SimplexCandidate",
    "catboost": "boosting.CatBoostCandidate",
    "mlp": "mlp.MLPCandidate",
    "sequence": "sequence.SequenceCandidate",
    "blend": "blend.BlendCandidate",
    "corrected": "correction.CorrectedCandidate",
}
"""Where each kind is; imported when one is read, because some need torch or CatBoost."""


def candidate_class(kind: str) -> type[Candidate]:
    """The class of a kind."""
    module, name = KINDS[kind].split(".")
    found: type[Candidate] = getattr(import_module(f"rsna19_kedro.ensemble.{module}"), name)
    return found


def load_candidate(folder: Path) -> Candidate:
    """Read a saved second-level model of whatever kind it is.

    Raises:
        InputError: The folder holds none, or one of an unknown kind or another version.
    """
    kind = read_description(folder)["kind"]
    if kind not in KINDS:
        raise InputError(
            f"The second-level model in {folder} is of kind {kind!r}; known are "
            f"{', '.join(KINDS)}. It was written by another version: run the pipeline "
            "stacking again."
        )
    try:
        return candidate_class(kind).load(folder)
    except (KeyError, ValidationError) as error:
        raise InputError(
            f"The second-level model in {folder} was written by another version ({error!r:.80}): "
            "run the pipeline stacking again."
        ) from error
