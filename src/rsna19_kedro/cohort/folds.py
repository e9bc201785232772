"""Which patient goes into which fold.

A patient counts with seven numbers: slices, and positive slices of each of the six classes.
Patients are dealt out one by one, the largest first, each to the fold that lacks most of what
the patient has. scikit-learn's StratifiedGroupKFold stratifies by one label a slice;
``benchmarks/fold_balance.py`` compares the two.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsna19_kedro.contracts import CLASSES, N_FOLDS
from rsna19_kedro.errors import InputError

SLICES = "slices"


def patient_counts(slices: pd.DataFrame) -> pd.DataFrame:
    """Slices and positive slices of each class, one row a patient, ordered by patient_id.

    Args:
        slices: Table with ``patient_id`` and six label columns, one row a slice.
    """
    counted = slices[["patient_id", *CLASSES]].assign(**{SLICES: 1})
    return counted.groupby("patient_id", sort=True)[[SLICES, *CLASSES]].sum().astype(np.int64)


def assign_folds(
    counts: pd.DataFrame, seed: int, fixed: "pd.Series[int] | None" = None
) -> "pd.Series[int]":
    """Deal patients out to five folds that are alike in slices and in every class.

    Args:
        counts: Table of ``patient_counts``; its row order does not matter.
        seed: Decides between patients that count the same, and between equal folds.
        fixed: Folds of patients that have one already; they keep it.

    Returns:
        Fold 0..4 of every patient in ``counts``, ordered by patient_id.

    Raises:
        InputError: Fewer patients than folds.
    """
    counts = counts.sort_index()
    if len(counts) < N_FOLDS:
        raise InputError(
            f"{len(counts)} patients with labelled slices cannot be split into {N_FOLDS} folds "
            f"({', '.join(map(str, counts.index)) or 'none'}). Folds are by patient, so at least "
            f"{N_FOLDS} patients are needed: add data, or check PatientID in the DICOM files."
        )
    amounts = counts[[SLICES, *CLASSES]].to_numpy(dtype=float)
    # Every column weighs the same, however rare its class; a class that never occurs has no say.
    shares = amounts / np.maximum(amounts.sum(axis=0), 1.0)
    known = pd.Series(-1, index=counts.index, dtype=np.int64)
    if fixed is not None:
        known.update(fixed.astype(np.int64))
    return pd.Series(
        _deal(shares, known.to_numpy(copy=True), np.random.default_rng(seed)),
        index=counts.index,
        name="fold",
    )


def _deal(
    shares: NDArray[np.float64], folds: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Fill in the folds that are -1, patients with the largest shares first."""
    load = np.zeros((N_FOLDS, shares.shape[1]))
    np.add.at(load, folds[folds >= 0], shares[folds >= 0])
    names = rng.permutation(N_FOLDS)
    shuffled = rng.permutation(len(folds))
    waiting = shuffled[folds[shuffled] < 0]
    size = np.square(shares[waiting]).sum(axis=1)
    for patient in waiting[np.argsort(-size, kind="stable")]:
        # The sum of squared loads grows least where load and shares have least in common.
        best = names[np.argmin((load @ shares[patient])[names])]
        folds[patient] = best
        load[best] += shares[patient]
    return folds


def balance(slices: pd.DataFrame) -> pd.DataFrame:
    """Slices, positive slices of each class, studies and patients in each fold.

    Args:
        slices: Table with ``fold``, ``study_id``, ``patient_id`` and six label columns.
    """
    by_fold = slices.groupby("fold")
    table = by_fold[list(CLASSES)].sum().astype(np.int64)
    table.insert(0, "patients", by_fold["patient_id"].nunique())
    table.insert(1, "studies", by_fold["study_id"].nunique())
    table.insert(2, SLICES, by_fold.size())
    return table
