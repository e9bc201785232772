"""Nodes of the folds pipeline."""

import pandas as pd

from rsna19_kedro.cohort import folds
from rsna19_kedro.cohort.folds import (
    FoldTables,
    list_test_slices,
    summarise_studies,
    with_mask_labels,
)
from rsna19_kedro.cohort.given_folds import read_given_folds
from rsna19_kedro.provenance.declare import result_of

from .files import given_files
from .parameters import FoldsParameters

__all__ = ["list_test_slices", "split_patients", "summarise_studies", "with_mask_labels"]


@result_of(files=given_files)
def split_patients(
    slice_index: pd.DataFrame,
    labels: pd.DataFrame,
    volume_index: pd.DataFrame,
    params: FoldsParameters,
) -> FoldTables:
    """Assign every labelled slice of a prepared volume to a fold: by patient, or as given.

    Args:
        slice_index: Table of all files.
        labels: Six labels per slice.
        volume_index: Table of the prepared volumes; other studies are ignored.
        params: Seed of the split, or path of given folds.

    Returns:
        ``folds``, ``folds_test``, ``revised_labels`` and ``fold_notes``, see ``FoldTables``.

    Raises:
        SourceError: Fewer patients than folds, volumes older than the slice index, or given
            folds not found.
        ParameterError: Given folds do not match the data, see ``read_given_folds``.
    """
    labelled = folds.labelled_slices(slice_index, labels, volume_index)
    if params.given is None:
        return folds.split_patients(labelled, params.seed)
    path = params.given.expanduser()
    columns = {str(name): column for name, column in params.columns.items()}
    given = read_given_folds(path, labelled, columns, accept_leaks=params.accept_leaks)
    return folds.take_given_folds(labelled, given)
