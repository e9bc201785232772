"""The runner of this project: in sequence in this process, or side by side on Ray."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from kedro.io import CatalogProtocol
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner

from rsna19_kedro.runners.machine import RunnerOptions, check_reachable, choose_mode
from rsna19_kedro.runners.persistence import check_persistent, remove_file
from rsna19_kedro.runners.stops import ended_by_sigterm
from rsna19_kedro.runners.summary import how_to_go_on
from rsna19_kedro.scope import ANCESTOR_TAG

logger = logging.getLogger("rsna19_kedro.runs")


class GPURunner(SequentialRunner):
    """Run the nodes in sequence in this process, or on several devices by Ray.

    Beyond Kedro's sequential runner it keeps two promises. With ``--only-missing-outputs``
    a missing dataset's node runs again *and so do all its downstream nodes*, so that no table
    is left that was made from another version of its input; what will be made again is
    removed first, so that a kill in between cannot hide it. And a model that is in the graph
    only because another one starts from it is not trained again when its checkpoint exists.

    With several devices, nodes tagged ``gpu`` get a GPU each (or the share of one that the
    parameters ``runner`` give them), all others a CPU slot; the longest path goes first, a
    failure skips only its downstream nodes, and a worker that dies is replaced. See
    docs/cluster.md.

    A hook of this runner's own, ``before_nodes_run(pipeline)``, is called with the nodes that
    will run: Kedro's ``before_pipeline_run`` comes before finished nodes are left out.

    Args:
        gpus: GPUs to use; ``None`` for all visible ones.
        cpus: Nodes without a GPU that run side by side.
        address: A Ray cluster, ``host:port`` or ``auto``.
        max_retries: How often a node is started again whose worker died.
        memory: Gigabytes per node, one number or one for each of ``gpu`` and ``cpu``.
        is_async: Load and save in threads (Kedro's own option).

    Raises:
        ParameterError: An option that makes no sense, or Ray is asked for and not installed.
    """

    def __init__(
        self,
        gpus: int | None = None,
        cpus: int | None = None,
        address: str | None = None,
        max_retries: int = 2,
        memory: float | Mapping[str, float] | None = None,
        is_async: bool = False,
    ) -> None:
        super().__init__(is_async=is_async)
        self.options = RunnerOptions(gpus, cpus, address, max_retries, memory)
        self.on_ray, self.reason = choose_mode(self.options)

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
        if self.on_ray:
            check_persistent(pipeline, catalog)
            if self.options.address is not None:
                check_reachable(self.options.address)
        return super().run(pipeline, catalog, hook_manager, run_id, only_missing_outputs)

    # The methods below but one are private in Kedro. ``_run`` is what its documentation tells a
    # runner to implement. The others have no public counterpart: Kedro's choice of missing
    # nodes keeps tables whose input is made anew, and its advice after a failure omits the
    # options that the command had.

    def _run(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol,
        hook_manager: Any = None,
        run_id: str | None = None,
    ) -> None:
        before_nodes_run = getattr(hook_manager.hook, "before_nodes_run", None)
        if before_nodes_run is not None:
            before_nodes_run(pipeline=pipeline)
        with ended_by_sigterm():
            if not self.on_ray:
                self._run_in_sequence(pipeline, catalog, hook_manager, run_id)
                return
            from rsna19_kedro.runners.ray_run import RayRun

            run = RayRun(pipeline, catalog, hook_manager, self.options, run_id, self._is_async)
            run.run(self.reason)

    def _run_in_sequence(
        self, pipeline: Pipeline, catalog: CatalogProtocol, *arguments: Any
    ) -> None:
        logger.info("In order in this process: %s", self.reason)
        self._done = set[str]()
        try:
            super()._run(pipeline, catalog, *arguments)
        except KeyboardInterrupt:
            left = [node.name for node in pipeline.nodes if node.name not in self._done]
            logger.warning(
                "Stopped: %d of %d nodes are done. Resume with:\n  %s",
                *(len(self._done), len(pipeline.nodes), how_to_go_on(pipeline, left, catalog)),
            )
            raise

    def _release_datasets(  # type: ignore[override]
        self, node: Node, catalog: CatalogProtocol, load_counts: Any, pipeline: Pipeline
    ) -> None:
        """Count a finished node: the only method, static in Kedro, that is called after each."""
        self._done.add(node.name)
        super()._release_datasets(node, catalog, load_counts, pipeline)

    def _suggest_resume_scenario(
        self, pipeline: Pipeline, done_nodes: Iterable[Node], catalog: CatalogProtocol
    ) -> None:
        """Log the command that resumes after a failure; nothing where nothing is done yet."""
        done = {node.name for node in done_nodes}
        left = {node.name for node in pipeline.nodes} - done
        command = how_to_go_on(pipeline, left, catalog) if done else ""
        if command:
            logger.warning(
                "%d of %d nodes are done. Once what failed is mended, go on with:\n  %s",
                *(len(done), len(pipeline.nodes), command),
            )

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
    return pipeline.filter(node_names=kept) if kept else Pipeline([])
