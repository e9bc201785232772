"""The runner of this project: nodes in order, on the accelerator if there is one."""

import logging
from typing import Any

from fsspec.implementations.local import LocalFileSystem
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.runner import SequentialRunner

logger = logging.getLogger("rsna19_kedro.runs")

ANCESTOR_TAG = "ancestor"
"""Tag of a training that is in the graph only because another model starts from it."""


class GPURunner(SequentialRunner):
    """Run the nodes in order in this process.

    Beyond Kedro's sequential runner it keeps two promises. With ``--only-missing-outputs``
    a missing dataset's node runs again *and so does all that hangs on it*, so that no table
    is left that was made from another version of its input; what will be made again is
    removed first, so that a kill in between cannot hide it. And a model that is in the graph
    only because another one starts from it is not trained again when its checkpoint exists.
    """

    def run(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol,
        hook_manager: Any = None,
        run_id: str | None = None,
        only_missing_outputs: bool = False,
    ) -> dict[str, Any]:
        """Run the pipeline; see ``kedro.runner.AbstractRunner.run`` for the arguments."""
        pipeline = _without_finished_ancestors(pipeline, catalog)
        return super().run(pipeline, catalog, hook_manager, run_id, only_missing_outputs)

    def _filter_pipeline_for_missing_outputs(
        self, pipeline: Pipeline, catalog: CatalogProtocol
    ) -> Pipeline:
        missing = super()._filter_pipeline_for_missing_outputs(pipeline, catalog)
        if not missing.nodes:
            return missing
        stale = pipeline.from_nodes(*(node.name for node in missing.nodes))
        for name in stale.all_outputs() - missing.all_outputs():
            remove_file(catalog, name)
        added = len(stale.nodes) - len(missing.nodes)
        if added:
            logger.info("%d more nodes hang on what is missing and run again", added)
        return stale


def _without_finished_ancestors(pipeline: Pipeline, catalog: CatalogProtocol) -> Pipeline:
    kept = []
    for node in pipeline.nodes:
        if ANCESTOR_TAG in node.tags and all(catalog.exists(name) for name in node.outputs):
            logger.info("%s is finished and only starts another model: kept", node.name)
        else:
            kept.append(node.name)
    if len(kept) == len(pipeline.nodes):
        return pipeline
    return pipeline.filter(node_names=kept) if kept else Pipeline([])


def remove_file(catalog: CatalogProtocol, name: str) -> None:
    """Remove a dataset that is one file; folders keep their own account of what is finished."""
    dataset = catalog.get(name, fallback_to_runtime_pattern=True)
    filepath = getattr(dataset, "_filepath", None)
    if dataset is None or filepath is None:
        return
    filesystem = getattr(dataset, "_fs", None) or LocalFileSystem()
    if filesystem.isfile(str(filepath)):
        filesystem.rm(str(filepath))
        dataset.release()
