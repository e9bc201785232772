"""Pipeline ``ingestion``."""

from kedro.pipeline import Pipeline

from rsna19_kedro.pipelines.grouped_node import GroupedNode
from rsna19_kedro.scope import Scope

from .nodes import index_slices, read_labels, report_ingestion

PARAMETERS = "params:ingestion"


def create_pipeline(scope: Scope | None = None, **kwargs: object) -> Pipeline:
    """Read headers and labels and report irregularities; the same for every scope."""
    read = ["raw_download", "slice_index"]
    return Pipeline(
        [
            GroupedNode(
                index_slices,
                ["raw_download", PARAMETERS],
                ["download_facts", "slice_index"],
                name="index_slices",
            ),
            GroupedNode(
                read_labels, [*read, PARAMETERS], ["labels", "label_findings"], name="read_labels"
            ),
            GroupedNode(
                report_ingestion,
                [*read, "labels", "label_findings", PARAMETERS],
                "ingestion_report",
                name="report_ingestion",
            ),
        ],
        namespace="ingestion",
        prefix_datasets_with_namespace=False,
    )
