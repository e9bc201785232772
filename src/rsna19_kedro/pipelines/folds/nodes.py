"""Nodes of the folds."""

import logging

import pandas as pd

from rsna19_kedro.cohort.folds import SLICES, assign_folds, balance, patient_counts
from rsna19_kedro.contracts import CLASSES, KEYS
from rsna19_kedro.errors import InputError

from .parameters import FoldsParameters

logger = logging.getLogger(__name__)

_COLUMNS = [*KEYS, "patient_id", "fold", *CLASSES]
_TEST_COLUMNS = ["sop_instance_uid", "study_id", "patient_id", "slice_num"]


def split_patients(
    slice_index: pd.DataFrame,
    labels: pd.DataFrame,
    volume_index: pd.DataFrame,
    params: FoldsParameters,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Put every labelled slice of a prepared volume into a fold, by patient.

    Args:
        slice_index: Table of all files.
        labels: Six labels a slice.
        volume_index: Table of the prepared volumes; only their studies count.
        params: Seed of the split.

    Returns:
        ``folds`` (labelled slices of the subset train) and ``folds_test`` (the same rows and
        the labelled slices of the subset test: a patient of both keeps the fold).

    Raises:
        InputError: Fewer patients than folds, or volumes that are older than the slice index.
    """
    slices = _prepared_slices(slice_index, volume_index)
    labelled = slices.merge(labels, on="sop_instance_uid", how="inner", validate="one_to_one")
    train = labelled[labelled["subset"] == "train"]
    known = assign_folds(patient_counts(train), params.seed)
    both = labelled[labelled["subset"].isin(("train", "test"))]
    # The test patients are dealt out to what the folds lack after train; none is moved.
    extended = assign_folds(patient_counts(both), params.seed, fixed=known)
    folds, folds_test = _with_fold(train, known), _with_fold(both, extended)
    _report_missing(folds)
    logger.info("Folds of %d slices:\n%s", len(folds), balance(folds).T.to_string())
    return folds, folds_test


def with_mask_labels(folds: pd.DataFrame, mask_labels: pd.DataFrame) -> pd.DataFrame:
    """Replace the labels of slices that have a segmentation mask (reference, section 3).

    Args:
        folds: Table with a fold and labels a slice.
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
    """One row a study: patient, fold, number of labelled slices, and maximum of each label."""
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
    _check_sizes(slices, volume_index)
    lost = placed["study_id"].nunique() - slices["study_id"].nunique()
    if lost:
        logger.warning("%d studies have no prepared volume and are left out of the folds", lost)
    slices = slices.sort_values(["study_id", "slice_num"], ignore_index=True)
    return slices[[*_TEST_COLUMNS, "subset"]].astype({"slice_num": "int64"})


def _check_sizes(slices: pd.DataFrame, volume_index: pd.DataFrame) -> None:
    if SLICES not in volume_index:
        return
    volumes = volume_index.set_index("study_id")[SLICES]
    indexed = slices.groupby("study_id").size()
    wrong = indexed[indexed != volumes.reindex(indexed.index)]
    if len(wrong):
        study = wrong.index[0]
        raise InputError(
            f"{len(wrong)} prepared volumes do not fit the slice index: study {study} has "
            f"{volumes[study]} slices in its volume and {wrong[study]} in slice_index. The raw "
            "data have changed since: run the pipeline volume_prep again."
        )


def _with_fold(labelled: pd.DataFrame, fold: "pd.Series[int]") -> pd.DataFrame:
    table = labelled.assign(fold=labelled["patient_id"].map(fold).astype("int64"))
    return table[_COLUMNS].reset_index(drop=True)


def _report_missing(folds: pd.DataFrame) -> None:
    for name in CLASSES:
        filled = folds.loc[folds[name] == 1, "fold"].nunique()
        if filled == 0:
            logger.warning("No training slice is positive for %s: it cannot be learnt", name)
        elif filled < folds["fold"].nunique():
            logger.warning(
                "Positive slices of %s are in %d of %d folds only: too few patients have it",
                name,
                filled,
                folds["fold"].nunique(),
            )
