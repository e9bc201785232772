"""The runner of this project: in sequence in this process, or in parallel on Ray."""

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

from kedro.io import CatalogProtocol
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner, Task

from rsna19_kedro.errors import note_node
from rsna19_kedro.provenance.record import now
from rsna19_kedro.runners.machine import RunnerOptions, check_reachable, choose_mode
from rsna19_kedro.runners.persistence import check_persistent
from rsna19_kedro.runners.run_locks import current_project, locked_results, registered
from rsna19_kedro.runners.stops import ended_by_sigterm
from rsna19_kedro.runners.summary import how_to_resume
from rsna19_kedro.runners.time_left import TimeLeft
from rsna19_kedro.runners.work import call_project_hook, plan_work

logger = logging.getLogger("rsna19_kedro.runs")


class GPURunner(SequentialRunner):
    """Run the nodes in sequence in this process, or in parallel on several devices with Ray.

    With ``--only-missing-outputs`` it runs the nodes whose results are missing or out of date
    (see docs/reuse.md), and their downstream nodes if their inputs then differ. A stored result
    stays until its replacement is written. A model that only initialises another one is trained
    again only if its checkpoint is missing or out of date.

    With several devices, each node tagged ``gpu`` gets a GPU (or the share set by the parameters
    ``runner``), each other node a CPU slot. The longest path goes first, a failure skips only its
    downstream nodes, and a worker that dies is replaced. See docs/cluster.md.

    Results are locked while they are made: a run that needs a result of another run waits for it
    and uses it if it is up to date (with ``wait=false`` it fails).

    This runner calls three additional hooks: ``before_nodes_run(pipeline, time_left)`` with the
    nodes that may run (Kedro calls ``before_pipeline_run`` before finished nodes are left out),
    ``node_unchanged(node)`` if one of them need not run after all, and ``run_interrupted()``
    after Ctrl-C or SIGTERM, when Kedro calls none.

    Args:
        gpus: GPUs to use; ``None`` for all visible ones.
        cpus: Number of nodes without a GPU that run in parallel.
        address: A Ray cluster, ``host:port`` or ``auto``.
        max_retries: How often a node is restarted if its worker dies.
        memory: Gigabytes per node: one number, or one each for ``gpu`` and ``cpu``.
        is_async: Load and save in threads (an option of Kedro).

    Raises:
        ParameterError: An option has an impossible value, or needs Ray, which is not installed.
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
        """Run the pipeline; see ``kedro.runner.AbstractRunner.run`` for the arguments.

        Raises:
            InputError: More than an hour of recorded work would be repeated, and
                ``remake=true`` was not given.
        """
        try:
            return self._plan_and_run(pipeline, catalog, hook_manager, run_id, only_missing_outputs)
        except KeyboardInterrupt:
            call_project_hook(hook_manager, "run_interrupted")
            raise

    def _plan_and_run(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol,
        hook_manager: Any,
        run_id: str | None,
        only_outdated: bool,
    ) -> dict[str, Any]:
        since = now()
        with registered(current_project()) as others:
            for other in others:
                logger.info("Another run is active in this project: %s", other)
            since = min([since, *(other.since for other in others)])
            self._work = plan_work(pipeline, catalog, only_outdated=only_outdated, since=since)
            if self.on_ray:
                check_persistent(self._work.pipeline, catalog)
                if self.options.address is not None:
                    check_reachable(self.options.address)
            return super().run(self._work.pipeline, catalog, hook_manager, run_id)

    # ``_run`` is private in Kedro, but its documentation tells a runner to implement it.

    def _run(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol,
        hook_manager: Any = None,
        run_id: str | None = None,
    ) -> None:
        if not pipeline.nodes:
            return
        # On Ray, the display shows the remaining time.
        time_left = TimeLeft({}, {}) if self.on_ray else TimeLeft.of(self._work, catalog)
        call_project_hook(hook_manager, "before_nodes_run", pipeline=pipeline, time_left=time_left)
        with ended_by_sigterm():
            if not self.on_ray:
                self._run_in_sequence(pipeline, catalog, hook_manager, run_id)
                return
            from rsna19_kedro.runners.ray_run import RayRun

            run = RayRun(self._work, catalog, hook_manager, self.options, run_id, self._is_async)
            run.run(self.reason)

    def _run_node(
        self, node: Node, catalog: CatalogProtocol, hooks: Any, run_id: str | None
    ) -> None:
        with locked_results(node, catalog, wait=self._work.wait):
            if self._work.is_unchanged(node):
                call_project_hook(hooks, "node_unchanged", node=node)
            else:
                Task(node, catalog, self._is_async, hooks, run_id=run_id).execute()

    def _run_in_sequence(
        self, pipeline: Pipeline, catalog: CatalogProtocol, hooks: Any, run_id: str | None
    ) -> None:
        logger.info("Running in sequence %s", self.reason)
        loads = Counter(name for node in pipeline.nodes for name in node.inputs)
        left = {node.name for node in pipeline.nodes}
        try:
            for node in pipeline.nodes:
                try:
                    self._run_node(node, catalog, hooks, run_id)
                except Exception as error:
                    note_node(error, node.name)
                    raise
                left.remove(node.name)
                self._release_datasets(node, catalog, loads, pipeline)
        except (Exception, KeyboardInterrupt) as error:
            done = len(pipeline.nodes) - len(left)
            command = how_to_resume(self._work, left)
            stopped = isinstance(error, KeyboardInterrupt)
            if stopped or (done and command):
                logger.warning(
                    "%s: %d of %d nodes done. %s with:\n  %s",
                    *("Stopped" if stopped else "Failed", done, len(pipeline.nodes)),
                    "Resume" if stopped else "Fix the error, then resume",
                    command,
                )
            raise
