"""Wiring of the folds."""

from kedro.pipeline import Pipeline, node

from rsna19_kedro.scope import Scope

from .nodes import list_test_slices, split_patients, summarise_studies, with_mask_labels


def create_pipeline(scope: Scope) -> Pipeline:
    """Labelled slices with their fold; the same for every scope."""
    return Pipeline(
        [
            node(
                split_patients,
                inputs=["slice_index", "labels", "volume_index", "params:folds"],
                outputs=["folds", "folds_test"],
                name="split_patients",
            ),
            node(
                with_mask_labels,
                inputs=["folds", "mask_labels"],
                outputs="folds_rev3",
                name="relabel_folds",
            ),
            node(
                with_mask_labels,
                inputs=["folds_test", "mask_labels"],
                outputs="folds_test_rev3",
                name="relabel_folds_test",
            ),
            node(
                summarise_studies, inputs="folds", outputs="study_folds", name="summarise_studies"
            ),
            node(
                list_test_slices,
                inputs=["slice_index", "volume_index"],
                outputs="test_slices",
                name="list_test_slices",
            ),
        ]
    )
