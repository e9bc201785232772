"""Which patient goes into which fold, and the tables of the folds.

A patient counts with seven numbers: slices, and positive slices of each of the six classes.
Patients are dealt out one by one, the largest first, each to the fold that lacks most of what
the patient has. scikit-learn's StratifiedGroupKFold stratifies by one label a slice;
``benchmarks/fold_balance.py`` compares the two.
"""

import logging

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsna19_kedro.contracts import CLASSES, KEYS, N_FOLDS
from rsna19_kedro.errors import SourceError

logger = logging.getLogger(__name__)

SLICES = "slices"
_TEST_COLUMNS = ["sop_instance_uid", "study_id", "patient_id", "slice_num"]


def fold_tables(
    slice_index: pd.DataFrame, labels: pd.DataFrame, volume_index: pd.DataFrame, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Put every labelled slice of a prepared volume into a fold, by patient.

    Args:
        slice_index: Table of all files.
        labels: Six labels per slice.
        volume_index: Table of the prepared volumes; only their studies count.
        seed: See ``assign_folds``.

    Returns:
        ``folds`` (labelled slices of the subset train) and ``folds_test`` (the same rows and
        the labelled slices of the subset test: a patient of both keeps the fold).

    Raises:
        SourceError: Fewer patients than folds, or volumes that are older than the slice index.
    """
    slices = _prepared_slices(slice_index, volume_index)
    labelled = slices.merge(labels, on="sop_instance_uid", how="inner", validate="one_to_one")
    train = labelled[labelled["subset"] == "train"]
    known = assign_folds(patient_counts(train), seed)
    both = labelled[labelled["subset"].isin(("train", "test"))]
    # The test patients are dealt out to what the folds lack after train; none is moved.
    extended = assign_folds(patient_counts(both), seed, fixed=known)
    folds, folds_test = _with_fold(train, known), _with_fold(both, extended)
    for name in CLASSES:
        filled = folds.loc[folds[name] == 1, "fold"].nunique()
        if filled == 0:
            logger.warning("No training slice is positive for %s: it cannot be learnt", name)
        elif filled < folds["fold"].nunique():
            logger.warning(
                "Positive slices of %s are in %d of %d folds only: too few patients have it",
                *(name, filled, folds["fold"].nunique()),
            )
    logger.info("Folds of %d slices:\n%s", len(folds), balance(folds).T.to_string())
    return folds, folds_test


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
        SourceError: Fewer patients than folds.
    """
    counts = counts.sort_index()
    if len(counts) < N_FOLDS:
        raise SourceError(
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


def with_mask_labels(folds: pd.DataFrame, mask_labels: pd.DataFrame) -> pd.DataFrame:
    """Replace the labels of slices that have a segmentation mask (reference, section 3).

    Args:
        folds: Table with a fold and labels per slice.
        mask_labels: ``sop_instance_uid``, six labels taken from the masks, and whether the
            slice holds ``unclassified`` blood: such a slice keeps its old labels.

    Returns:
        A table like ``folds``.
    """
    certain = mask_labels[~mask_labels["unclassified"].astype(bool)]
    new = certain.set_index("sop_instance_uid")[list(CLASSES)]
    masked = folds["sop_instance_uid"].isin(new.index)
    result = folds.copy()
    replaced = new.loc[folds.loc[masked, "sop_instance_uid"]].to_numpy(dtype="uint8")
    result.loc[masked, list(CLASSES)] = replaced
    changed = (result[list(CLASSES)] != folds[list(CLASSES)]).any(axis=1)
    logger.info("Masks relabel %d slices, %d of them differently", masked.sum(), changed.sum())
    return result


def summarise_studies(folds: pd.DataFrame) -> pd.DataFrame:
    """One row per study: patient, fold, number of labelled slices, and maximum of each label."""
    by_study = folds.groupby("study_id", sort=True)
    table = by_study[["patient_id", "fold"]].first()
    table[SLICES] = by_study.size()
    table[list(CLASSES)] = by_study[list(CLASSES)].max()
    return table.reset_index()


def list_test_slices(slice_index: pd.DataFrame, volume_index: pd.DataFrame) -> pd.DataFrame:
    """Slices of the subset test2 (stage-2 test): those that a submission holds."""
    slices = _prepared_slices(slice_index, volume_index)
    test = slices.loc[slices["subset"] == "test2", _TEST_COLUMNS]
    if test.empty:
        logger.warning("There are no slices to predict (subset test2): submissions will be empty")
    return test.reset_index(drop=True)


def _prepared_slices(slice_index: pd.DataFrame, volume_index: pd.DataFrame) -> pd.DataFrame:
    placed = slice_index[slice_index["slice_num"].notna()]
    slices = placed[placed["study_id"].isin(volume_index["study_id"])]
    indexed = slices.groupby("study_id").size()
    volumes = volume_index.set_index("study_id")[SLICES].reindex(indexed.index)
    wrong = indexed[indexed != volumes]
    if len(wrong):
        study = wrong.index[0]
        raise SourceError(
            f"{len(wrong)} prepared volumes do not fit the slice index: study {study} has "
            f"{volumes[study]} slices in its volume and {wrong[study]} in slice_index. The raw "
            "data have changed since: run the pipeline volume_prep again."
        )
    lost = placed["study_id"].nunique() - slices["study_id"].nunique()
    if lost:
        logger.warning("%d studies have no prepared volume and are left out of the folds", lost)
    slices = slices.sort_values(["study_id", "slice_num"], ignore_index=True)
    return slices[[*_TEST_COLUMNS, "subset"]].astype({"slice_num": "int64"})


def _with_fold(labelled: pd.DataFrame, fold: "pd.Series[int]") -> pd.DataFrame:
    table = labelled.assign(fold=labelled["patient_id"].map(fold).astype("int64"))
    return table[[*KEYS, "patient_id", "fold", *CLASSES]].reset_index(drop=True)
