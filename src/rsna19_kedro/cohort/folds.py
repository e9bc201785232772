"""Folds by patient, and their tables.

A patient is described by seven numbers: slices, and positive slices of each of the six classes.
Patients are assigned one by one, the largest first, each to the fold that has least of what the
patient has. scikit-learn's StratifiedGroupKFold stratifies by one label per slice;
``benchmarks/fold_balance.py`` compares the two.
"""

import logging
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rsna19_kedro.cohort.given_folds import GivenFolds, describe
from rsna19_kedro.contracts import CLASSES, KEYS, N_FOLDS
from rsna19_kedro.errors import SourceError, counted

logger = logging.getLogger(__name__)

SLICES = "slices"
_TEST_COLUMNS = ["sop_instance_uid", "study_id", "patient_id", "slice_num"]


class FoldTables(NamedTuple):
    """The folds of a data set.

    Attributes:
        folds: Labelled slices of the subset train: keys, ``patient_id``, ``fold``, six labels.
        folds_test: The rows of ``folds`` and the labelled slices of the subset test.
        revised_labels: ``sop_instance_uid`` and six labels of given files with revised labels;
            may be empty.
        notes: Origin of the folds and disagreements with the data set, for reports.
    """

    folds: pd.DataFrame
    folds_test: pd.DataFrame
    revised_labels: pd.DataFrame
    notes: list[str]


def split_patients(labelled: pd.DataFrame, seed: int) -> FoldTables:
    """Assign every labelled slice to a fold, by patient.

    Args:
        labelled: See ``labelled_slices``.
        seed: See ``assign_folds``.

    Returns:
        The folds; a patient of both subsets has the same fold in both tables.

    Raises:
        SourceError: There are fewer patients than folds.
    """
    train = labelled[labelled["subset"] == "train"]
    known = assign_folds(patient_counts(train), seed)
    # Test patients are added to balance the folds; train patients keep their folds.
    extended = assign_folds(patient_counts(labelled), seed, fixed=known)
    folds, folds_test = (
        _columns(table.assign(fold=table["patient_id"].map(fold)))
        for table, fold in ((train, known), (labelled, extended))
    )
    note = (
        "Folds are split by patient and balanced, in slices and in every class, as far as whole "
        "patients allow."
    )
    return _logged(FoldTables(folds, folds_test, pd.DataFrame(), [note]))


def take_given_folds(labelled: pd.DataFrame, given: GivenFolds) -> FoldTables:
    """Assign every labelled slice to its given fold.

    A patient in several folds (if that was accepted) counts as one patient per fold: its
    ``patient_id`` then ends with ``@`` and the fold.

    Args:
        labelled: See ``labelled_slices``.
        given: Folds by SOPInstanceUID; slices without a fold are left out.
    """
    table = labelled.assign(fold=labelled["sop_instance_uid"].map(given.folds))
    table = table[table["fold"].notna()]
    leaks = table.groupby("patient_id")["fold"].transform("nunique") > 1
    suffix = "@" + table["fold"].astype(int).astype(str)
    table = table.assign(patient_id=table["patient_id"].where(~leaks, table["patient_id"] + suffix))
    train = table[table["subset"] == "train"]
    notes = describe(given.findings)
    for note in notes:
        logger.warning("%s", note)
    return _logged(FoldTables(_columns(train), _columns(table), given.revised, notes))


def labelled_slices(
    slice_index: pd.DataFrame, labels: pd.DataFrame, volume_index: pd.DataFrame
) -> pd.DataFrame:
    """Return the labelled slices of the subsets train and test that have a prepared volume.

    Args:
        slice_index: Table of all files.
        labels: Six labels per slice.
        volume_index: Table of the prepared volumes; only their studies are used.

    Returns:
        Keys, ``patient_id``, ``subset`` and six labels, sorted by study and slice number.

    Raises:
        SourceError: Volumes are older than the slice index.
    """
    slices = _prepared_slices(slice_index, volume_index)
    slices = slices[slices["subset"].isin(("train", "test"))]
    return slices.merge(labels, on="sop_instance_uid", how="inner", validate="one_to_one")


def _logged(tables: FoldTables) -> FoldTables:
    folds = tables.folds
    for name in CLASSES:
        filled = folds.loc[folds[name] == 1, "fold"].nunique()
        if filled == 0:
            logger.warning("No training slice is positive for %s: it cannot be learnt", name)
        elif filled < folds["fold"].nunique():
            logger.warning(
                "Positive slices of %s are in only %d of %d folds: too few positive patients",
                *(name, filled, folds["fold"].nunique()),
            )
    logger.info("Folds of %s:\n%s", counted(len(folds), "slice"), balance(folds).T.to_string())
    return tables


def patient_counts(slices: pd.DataFrame) -> pd.DataFrame:
    """Count slices and positive slices of each class per patient, sorted by patient_id.

    Args:
        slices: Table with ``patient_id`` and six label columns, one row per slice.
    """
    table = slices[["patient_id", *CLASSES]].assign(**{SLICES: 1})
    return table.groupby("patient_id", sort=True)[[SLICES, *CLASSES]].sum().astype(np.int64)


def assign_folds(
    counts: pd.DataFrame, seed: int, fixed: "pd.Series[int] | None" = None
) -> "pd.Series[int]":
    """Assign patients to five folds, balanced in slices and in every class.

    Args:
        counts: Table of ``patient_counts``; its row order does not matter.
        seed: Random seed; breaks ties between patients and between folds.
        fixed: Folds of patients that are already assigned; they are kept.

    Returns:
        Fold 0..4 of every patient in ``counts``, sorted by patient_id.

    Raises:
        SourceError: There are fewer patients than folds.
    """
    counts = counts.sort_index()
    if len(counts) < N_FOLDS:
        raise SourceError(
            f"{counted(len(counts), 'patient')} with labelled slices cannot be split into "
            f"{N_FOLDS} folds "
            f"({', '.join(map(str, counts.index)) or 'none'}). Folds are by patient, so at least "
            f"{N_FOLDS} patients are needed: add data, or check PatientID in the DICOM files."
        )
    amounts = counts[[SLICES, *CLASSES]].to_numpy(dtype=float)
    # All columns have equal weight, however rare the class; a class without positives has none.
    shares = amounts / np.maximum(amounts.sum(axis=0), 1.0)
    known = pd.Series(-1, index=counts.index, dtype=np.int64)
    if fixed is not None:
        known.update(fixed.astype(np.int64))
    return pd.Series(
        _assign(shares, known.to_numpy(copy=True), np.random.default_rng(seed)),
        index=counts.index,
        name="fold",
    )


def _assign(
    shares: NDArray[np.float64], folds: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Assign patients whose fold is -1, those with the largest shares first."""
    load = np.zeros((N_FOLDS, shares.shape[1]))
    np.add.at(load, folds[folds >= 0], shares[folds >= 0])
    names = rng.permutation(N_FOLDS)
    shuffled = rng.permutation(len(folds))
    waiting = shuffled[folds[shuffled] < 0]
    size = np.square(shares[waiting]).sum(axis=1)
    for patient in waiting[np.argsort(-size, kind="stable")]:
        # The smallest dot product of load and shares gives the smallest sum of squared loads.
        best = names[np.argmin((load @ shares[patient])[names])]
        folds[patient] = best
        load[best] += shares[patient]
    return folds


def balance(slices: pd.DataFrame) -> pd.DataFrame:
    """Count slices, positive slices of each class, studies and patients per fold.

    Args:
        slices: Table with ``fold``, ``study_id``, ``patient_id`` and six label columns.
    """
    by_fold = slices.groupby("fold")
    table = by_fold[list(CLASSES)].sum().astype(np.int64)
    table.insert(0, "patients", by_fold["patient_id"].nunique())
    table.insert(1, "studies", by_fold["study_id"].nunique())
    table.insert(2, SLICES, by_fold.size())
    return table


def with_mask_labels(
    folds: pd.DataFrame, mask_labels: pd.DataFrame, revised_labels: pd.DataFrame
) -> pd.DataFrame:
    """Replace labels by those of segmentation masks (docs/reference.md#dataset-files).

    Args:
        folds: Table with a fold and labels per slice.
        mask_labels: ``sop_instance_uid``, six labels from the masks, and whether the slice
            contains ``unclassified`` blood: such a slice keeps its old labels.
        revised_labels: ``sop_instance_uid`` and six labels that were given with the folds; if
            not empty, masks are ignored.

    Returns:
        A table like ``folds``.
    """
    certain = mask_labels[~mask_labels["unclassified"].astype(bool)]
    given = len(revised_labels) > 0
    source = revised_labels if given else certain
    new = source.set_index("sop_instance_uid")[list(CLASSES)]
    masked = folds["sop_instance_uid"].isin(new.index)
    result = folds.copy()
    replaced = new.loc[folds.loc[masked, "sop_instance_uid"]].to_numpy(dtype="uint8")
    result.loc[masked, list(CLASSES)] = replaced
    changed = (result[list(CLASSES)] != folds[list(CLASSES)]).any(axis=1)
    logger.info(
        "Labels of %s taken from %s; %d differ from the label CSV",
        *(counted(int(masked.sum()), "slice"), "given files" if given else "masks"),
        changed.sum(),
    )
    return result


def summarise_studies(folds: pd.DataFrame) -> pd.DataFrame:
    """Return patient, fold, number of labelled slices and maximum of each label per study."""
    by_study = folds.groupby("study_id", sort=True)
    table = by_study[["patient_id", "fold"]].first()
    table[SLICES] = by_study.size()
    table[list(CLASSES)] = by_study[list(CLASSES)].max()
    return table.reset_index()


def list_test_slices(slice_index: pd.DataFrame, volume_index: pd.DataFrame) -> pd.DataFrame:
    """Return the slices of the subset test2 (stage-2 test), which a submission contains."""
    slices = _prepared_slices(slice_index, volume_index)
    test = slices.loc[slices["subset"] == "test2", _TEST_COLUMNS]
    if test.empty:
        logger.warning("There are no slices to predict (subset test2): submissions will be empty")
    return test.reset_index(drop=True)


def _prepared_slices(slice_index: pd.DataFrame, volume_index: pd.DataFrame) -> pd.DataFrame:
    numbered = slice_index[slice_index["slice_num"].notna()]
    slices = numbered[numbered["study_id"].isin(volume_index["study_id"])]
    indexed = slices.groupby("study_id").size()
    volumes = volume_index.set_index("study_id")[SLICES].reindex(indexed.index)
    wrong = indexed[indexed != volumes]
    if len(wrong):
        study = wrong.index[0]
        raise SourceError(
            f"{counted(len(wrong), 'prepared volume')} and the slice index do not match: study "
            f"{study} has {volumes[study]} slices in its volume and {wrong[study]} in "
            "slice_index. The raw data have changed since: run the pipeline volume_prep again."
        )
    lost = numbered["study_id"].nunique() - slices["study_id"].nunique()
    if lost:
        studies = counted(lost, "study", "studies")
        logger.warning("%s without a prepared volume left out of the folds", studies)
    slices = slices.sort_values(["study_id", "slice_num"], ignore_index=True)
    return slices[[*_TEST_COLUMNS, "subset"]].astype({"slice_num": "int64"})


def _columns(table: pd.DataFrame) -> pd.DataFrame:
    columns = [*KEYS, "patient_id", "fold", *CLASSES]
    return table[columns].astype({"fold": "int64"}).reset_index(drop=True)
