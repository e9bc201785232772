"""Graph of the folds pipeline."""

from kedro.pipeline import Pipeline

from rsna19_kedro.pipelines.grouped_node import GroupedNode
from rsna19_kedro.scope import Scope

from .nodes import list_test_slices, split_patients, summarise_studies, with_mask_labels


def create_pipeline(scope: Scope | None = None, **kwargs: object) -> Pipeline:
    """Assign folds to the labelled slices and list the test slices; the same for every scope."""
    return Pipeline(
        [
            GroupedNode(
                split_patients,
                ["slice_index", "labels", "volume_index", "params:folds"],
                ["folds", "folds_test", "revised_labels", "fold_notes"],
                name="split_patients",
            ),
            GroupedNode(
                with_mask_labels,
                ["folds", "mask_labels", "revised_labels"],
                "folds_rev3",
                name="relabel_folds",
            ),
            GroupedNode(
                with_mask_labels,
                ["folds_test", "mask_labels", "revised_labels"],
                "folds_test_rev3",
                name="relabel_folds_test",
            ),
            GroupedNode(summarise_studies, "folds", "study_folds", name="summarise_studies"),
            GroupedNode(
                list_test_slices,
                ["slice_index", "volume_index"],
                "test_slices",
                name="list_test_slices",
            ),
        ],
        namespace="folds",
        prefix_datasets_with_namespace=False,
    )
