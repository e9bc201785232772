"""Parting patients: whom a model learns from and whom it is stopped, chosen or scored on."""

import logging
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from rsna19_kedro.ensemble.candidate import Groups
from rsna19_kedro.ensemble.level1 import Bools
from rsna19_kedro.errors import InputError

logger = logging.getLogger(__name__)


def inner_folds(groups: Groups, folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Cut the patients into equal parts.

    Args:
        groups: ``(N,)`` patients.
        folds: Number of parts; fewer where there are fewer patients.
        seed: Seed of the shuffle.

    Returns:
        ``(N,)`` part of each slice; all slices of a patient are in the same one.
    """
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(names))
    parts: npt.NDArray[np.int64] = shuffled % min(folds, len(names))
    return parts[codes]


def held_out_parts(groups: Groups, folds: int, seed: int, who: str) -> Iterator[Bools]:
    """Masks ``(N,)`` of the patients to stop early on, one part of them after the other.

    A single patient cannot be left out: there is one empty mask then, and a warning.
    """
    part = inner_folds(groups, folds, seed)
    numbers = np.unique(part)
    if len(numbers) == 1:
        logger.warning("%s: a single patient, so nothing can stop it early.", who)
        yield np.zeros(len(part), dtype=bool)
        return
    for number in numbers:
        yield part == number


def check_patients(patients: Groups, folds: npt.NDArray[np.integer]) -> None:
    """Make sure that no patient stands in two folds.

    Raises:
        InputError: A patient does; the message names the first ones.
    """
    pairs = pd.DataFrame({"patient": patients, "fold": folds}).drop_duplicates()
    crossing = pairs["patient"][pairs["patient"].duplicated()].unique()
    if len(crossing):
        raise InputError(
            f"{len(crossing)} patients stand in more than one fold, first {list(crossing[:3])}: "
            "a second level judged on them would have seen them. Run the pipeline folds again."
        )
