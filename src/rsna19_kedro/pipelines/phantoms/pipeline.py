"""Pipeline ``phantoms``."""

from kedro.pipeline import Pipeline

from rsna19_kedro.pipelines.grouped_node import GroupedNode
from rsna19_kedro.scope import Scope

from .nodes import generate_phantoms


def create_pipeline(scope: Scope | None = None, **kwargs: object) -> Pipeline:
    """Fill the raw data folder with phantoms; the same for every scope."""
    return Pipeline(
        [
            GroupedNode(
                generate_phantoms,
                ["raw_folder", "params:phantoms"],
                "raw_download",
                name="generate_phantoms",
            )
        ],
        namespace="phantoms",
        prefix_datasets_with_namespace=False,
    )
