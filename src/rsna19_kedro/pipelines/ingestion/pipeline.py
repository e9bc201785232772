"""Wiring of the ingestion."""

from kedro.pipeline import Pipeline, node

from rsna19_kedro.scope import Scope

from .nodes import index_slices, read_labels, report_ingestion


def create_pipeline(scope: Scope) -> Pipeline:
    """Headers of all files, labels, and what was odd about them."""
    return Pipeline(
        [
            node(
                index_slices,
                inputs=["raw_download", "params:ingestion"],
                outputs="slice_index",
                name="index_slices",
            ),
            node(
                read_labels,
                inputs=["raw_download", "slice_index", "params:ingestion"],
                outputs=["labels", "label_findings"],
                name="read_labels",
            ),
            node(
                report_ingestion,
                inputs=[
                    "raw_download",
                    "slice_index",
                    "labels",
                    "label_findings",
                    "params:ingestion",
                ],
                outputs="ingestion_report",
                name="report_ingestion",
            ),
        ]
    )
