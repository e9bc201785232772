"""Wires the generation of phantoms."""

from kedro.pipeline import Pipeline, node

from rsna19_kedro.scope import Scope

from .nodes import generate_phantoms


def create_pipeline(scope: Scope) -> Pipeline:
    """Build the pipeline that fills the raw data folder with phantoms.

    Args:
        scope: Not needed: the registry leaves this pipeline out of the whole run where a
            download is given, and the node never writes among files that are not its own.
    """
    return Pipeline(
        [
            node(
                generate_phantoms,
                inputs=["raw_folder", "params:phantoms"],
                outputs="raw_download",
                name="generate_phantoms",
            )
        ]
    )
