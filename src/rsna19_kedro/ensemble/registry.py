"""All kinds of second-level models, and reading any of them back."""

from pathlib import Path
from typing import Final

from pydantic import ValidationError

from rsna19_kedro.ensemble.averages import GaussianCandidate, WeightedMeanCandidate
from rsna19_kedro.ensemble.blend import BlendCandidate
from rsna19_kedro.ensemble.boosting import CatBoostCandidate
from rsna19_kedro.ensemble.candidate import Candidate, read_description
from rsna19_kedro.ensemble.combination import MeanCandidate, SimplexCandidate
from rsna19_kedro.ensemble.correction import CorrectedCandidate
from rsna19_kedro.ensemble.mlp import MLPCandidate
from rsna19_kedro.ensemble.sequence import SequenceCandidate
from rsna19_kedro.errors import InputError

KINDS: Final[dict[str, type[Candidate]]] = {
    kind.kind: kind
    for kind in (
        MeanCandidate,
        WeightedMeanCandidate,
        GaussianCandidate,
        SimplexCandidate,
        CatBoostCandidate,
        MLPCandidate,
        SequenceCandidate,
        BlendCandidate,
        CorrectedCandidate,
    )
}


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
        return KINDS[kind].load(folder)
    except (KeyError, ValidationError) as error:
        raise InputError(
            f"The second-level model in {folder} was written by another version ({error!r:.80}): "
            "run the pipeline stacking again."
        ) from error
