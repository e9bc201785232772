"""Nodes of the folds."""

import pandas as pd

from rsna19_kedro.cohort.folds import (
    fold_tables,
    list_test_slices,
    summarise_studies,
    with_mask_labels,
)

from .parameters import FoldsParameters

__all__ = ["list_test_slices", "split_patients", "summarise_studies", "with_mask_labels"]


def split_patients(
    slice_index: pd.DataFrame,
    labels: pd.DataFrame,
    volume_index: pd.DataFrame,
    params: FoldsParameters,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Put every labelled slice of a prepared volume into a fold, by patient.

    Args:
        slice_index: Table of all files.
        labels: Six labels per slice.
        volume_index: Table of the prepared volumes; only their studies count.
        params: Seed of the split.

    Returns:
        ``folds`` and ``folds_test``, see ``fold_tables``.

    Raises:
        SourceError: Fewer patients than folds, or volumes that are older than the slice index.
    """
    return fold_tables(slice_index, labels, volume_index, params.seed)
