"""Patient-level splits for fitting, early stopping, selection and scoring."""

import logging
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from rsna19_kedro.ensemble.candidate import Groups
from rsna19_kedro.ensemble.level1 import Bools
from rsna19_kedro.errors import InputError, counted

logger = logging.getLogger(__name__)


def inner_folds(groups: Groups, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Split the patients into parts of equal size.

    Args:
        groups: ``(N,)`` patients.
        folds: Number of parts; fewer if there are fewer patients.
        seed: Seed of the shuffle.

    Returns:
        ``(N,)`` part of each slice; all slices of a patient are in the same part.
    """
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    parts: npt.NDArray[np.int64] = shuffled % min(folds, len(names))
    return parts[codes]


def held_out_parts(groups: Groups, folds: int, seed: int, name: str) -> Iterator[Bools]:
    """Yield one mask ``(N,)`` of patients for early stopping per part.

    A single patient cannot be held out: this yields one empty mask and logs a warning.
    """
    part = inner_folds(groups, folds, seed)
    numbers = np.unique(part)
    if len(numbers) == 1:
        logger.warning("%s: a single patient, so early stopping is disabled.", name)
        yield np.zeros(len(part), dtype=bool)
        return
    for number in numbers:
        yield part == number


def check_patients(patients: Groups, folds: npt.NDArray[np.integer]) -> None:
    """Check that every patient is in a single fold.

    Raises:
        InputError: Patients are in several folds (the message names the first three).
    """
    pairs = pd.DataFrame({"patient": patients, "fold": folds}).drop_duplicates()
    crossing = pairs["patient"][pairs["patient"].duplicated()].unique()
    if len(crossing):
        raise InputError(
            f"In more than one fold: {counted(len(crossing), 'patient')}, first "
            f"{list(crossing[:3])}. Scores of the second level would be biased. Run the pipeline "
            "folds again."
        )
