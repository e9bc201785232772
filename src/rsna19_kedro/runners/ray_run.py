"""A run on Ray: start ready nodes, retry after a worker died, skip downstream of a failure."""

import logging
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from kedro.io import CatalogProtocol
from pluggy import PluginManager
from ray.exceptions import RayError, RayTaskError

from rsna19_kedro.commands import session_options
from rsna19_kedro.errors import InputError, ParameterError, counted
from rsna19_kedro.runners.display import Display
from rsna19_kedro.runners.facts import save_schedule
from rsna19_kedro.runners.machine import RunnerOptions, Slots
from rsna19_kedro.runners.needs import needs_of
from rsna19_kedro.runners.pool import Pool, pack
from rsna19_kedro.runners.ray_session import RaySession
from rsna19_kedro.runners.schedule import Schedule
from rsna19_kedro.runners.summary import failure_text, how_to_resume
from rsna19_kedro.runners.time_left import TimeLeft
from rsna19_kedro.runners.work import Work, call_project_hook
from rsna19_kedro.runners.worker import NodeRun, Setup

logger = logging.getLogger("rsna19_kedro.runs")

_POLL_S = 0.5
_EPSILON = 1e-6


class RayRun:
    """One run of a pipeline on Ray.

    Args:
        work: The nodes to run.
        catalog: Their datasets, all persistent.
        hooks: Kedro's hook manager of this process.
        options: Devices and retries.
        run_id: Kedro's name of the run.
        is_async: Kedro's option to load and save in threads.
    """

    def __init__(
        self,
        work: Work,
        catalog: CatalogProtocol,
        hooks: Any,
        options: RunnerOptions,
        run_id: str | None,
        is_async: bool,
    ) -> None:
        self.work, self.catalog, self.hooks = work, catalog, hooks
        self.pipeline = pipeline = work.pipeline
        self.options, self.run_id, self.is_async = options, run_id, is_async
        self.runs: dict[str, NodeRun] = {}
        self._checked: set[str] = set()
        self.payloads = {node.name: pack(node, catalog) for node in pipeline.nodes}

    def run(self, reason: str) -> None:
        """Run all nodes that can run.

        Args:
            reason: Why Ray is used, for the log.

        Raises:
            InputError: Nodes failed; the message is the summary.
            ParameterError: A node needs more than the machines have.
            KeyboardInterrupt: Ctrl-C or SIGTERM; all workers have ended.
        """
        started = time.monotonic()
        with RaySession(self.options) as self.session:
            slots = self.slots = self.session.slots
            self.needs = needs_of(self.pipeline.nodes, self.catalog, gpus=slots.gpus > 0)
            _check_slots(self.needs, slots, self.options)
            logger.info(
                "Running in parallel on Ray (%s): %s; ready after %.1f s",
                *(reason, slots, time.monotonic() - started),
            )
            costs = {name: need.cost for name, need in self.needs.items()}
            self.schedule = Schedule(self.pipeline, costs)
            self.pool = Pool(self._setup(), self.options.memory_by_kind(), slots.logical)
            counts = {"gpu": slots.gpus, "cpu": slots.cpus}
            self.time_left = TimeLeft(self.needs, self.work.recorded, counts)
            self.display = Display(self.schedule, self.runs, self.time_left)
            try:
                with self.display.live:
                    self._loop()
            except KeyboardInterrupt:
                self._interrupted()
                raise
            finally:
                self.session.pids = {run.worker for run in self.runs.values()}
                save_schedule(self.runs.values(), self.run_id, self.catalog)
        if self.schedule.failed:
            raise InputError(failure_text(self.schedule, self._resume()))

    def _setup(self) -> Setup:
        from kedro.framework.project import PACKAGE_NAME

        loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
        levels = tuple((log.name, log.level) for log in loggers if log.level)
        paths = tuple(path for path in sys.path if path)
        return Setup(
            PACKAGE_NAME,
            str(Path.cwd()),
            paths,
            levels,
            self.run_id,
            self.is_async,
            self.work.wait,
            self.work.since,
            session_options(),
        )

    def _loop(self) -> None:
        schedule = self.schedule
        while schedule.active:
            while self._keep_unchanged():
                pass
            if not schedule.active:
                break
            for name in schedule.startable(self._fits, lambda name: self.needs[name].slot):
                self._start(name)
            ended = self.pool.wait(_POLL_S)
            self._receive()
            if ended is not None:
                self._end(*ended)
            self.display.tick()

    def _keep_unchanged(self) -> bool:
        """Skip the ready nodes that need not run after all; return whether there were any."""
        kept = [name for name in self.schedule.ready if self._is_unchanged(name)]
        for name in kept:
            self.schedule.skip(name)
            call_project_hook(self.hooks, "node_unchanged", node=self.schedule.nodes[name])
        return bool(kept)

    def _is_unchanged(self, name: str) -> bool:
        """Whether a ready node need not run; checked once per node."""
        if name not in self._checked:
            self._checked.add(name)
            return self.work.is_unchanged(self.schedule.nodes[name])
        return False

    def _fits(self, name: str) -> bool:
        """Whether a slot is free; evaluated for each node, so that every start counts."""
        running = [self.needs[other] for other in self.schedule.running]
        if self.needs[name].gpus:
            taken = sum(needs.gpus for needs in running)
            return taken + self.needs[name].gpus <= self.slots.gpus + _EPSILON
        return sum(not needs.gpus for needs in running) + 1 <= self.slots.cpus + _EPSILON

    def _start(self, name: str) -> None:
        retries = self.runs[name].retries + 1 if name in self.runs else 0
        run = replace(self.needs[name], retries=retries, outcome="running", start=time.time())
        run.end = run.start
        self.runs[name] = run
        self.schedule.start(name)
        self._hook("before_node_run", node=self.schedule.nodes[name], inputs={})
        self.pool.submit(run, self.payloads[name])

    def _receive(self) -> None:
        """Handle messages of workers: where nodes run, their progress, their log."""
        for name, what, content in self.pool.messages():
            if what == "run":
                vars(self.runs[name]).update(content)
                continue
            source, level, text = content
            log = logging.getLogger(source)
            if log.isEnabledFor(level):
                log.log(level, "%s | %s", name, text)

    def _end(self, name: str, answer: NodeRun | RayError) -> None:
        if isinstance(answer, RayError):
            self._died(self.runs[name], answer)
            return
        self.runs[name] = answer
        if answer.error:
            self._failed(answer)
            return
        self.schedule.finish(name)
        self.time_left.measured(name, answer.end - answer.start)
        node = self.schedule.nodes[name]
        for output in node.outputs:
            self.catalog.release(output)  # Clears the file system's cache.
        self._hook("after_node_run", node=node, inputs={}, outputs={})

    def _died(self, run: NodeRun, error: RayError) -> None:
        """Retry a node whose worker died, unless retries are used up or the code raised."""
        reason = " ".join(str(error).split())[:200]
        self.session.keep_logs = self.session.local
        if not isinstance(error, RayTaskError) and run.retries < self.options.max_retries:
            logger.warning(
                "%s: worker died (%s); try %d of %d",
                *(run.node, reason, run.retries + 2, self.options.max_retries + 1),
            )
            self.schedule.again(run.node)
            return
        times = f" {run.retries + 1} times" if run.retries else ""
        where = f"; Ray's logs are in {self.session.folder}" if self.session.local else ""
        run.outcome, run.end = "killed", time.time()
        run.error = f"worker died{times}: {reason}{where}"
        self._failed(run)

    def _failed(self, run: NodeRun) -> None:
        self.schedule.fail(run.node, run.error)
        if run.trace or self.schedule.active:  # Otherwise the summary follows at once.
            logger.error("%s failed: %s", run.node, run.trace or run.error)

    def _hook(self, event: str, **arguments: Any) -> None:
        """Call the hooks of the main process; all others run in the workers."""
        if not isinstance(self.hooks, PluginManager):
            return
        others = [
            plugin
            for plugin in self.hooks.get_plugins()
            if not getattr(plugin, "IN_MAIN_PROCESS", False)
        ]
        self.hooks.subset_hook_caller(event, remove_plugins=others)(
            catalog=self.catalog, is_async=self.is_async, run_id=self.run_id, **arguments
        )

    def _resume(self) -> str:
        return how_to_resume(self.work, self.schedule.not_done)

    def _interrupted(self) -> None:
        logger.warning(
            "Stopped: %s. Killing %s. Resume with:\n  %s",
            self.display.counts(),
            counted(len(self.schedule.running), "running node"),
            self._resume(),
        )
        for name in self.schedule.running:
            self.runs[name].outcome, self.runs[name].end = "killed", time.time()
        if not self.session.local:
            self.pool.cancel()


def _check_slots(needs: dict[str, NodeRun], slots: Slots, options: RunnerOptions) -> None:
    """Refuse nodes that could never start.

    Raises:
        ParameterError: A node needs more GPUs or memory than any machine has.
    """
    may_grow = slots.machines and options.gpus is not None
    for name, need in needs.items():
        if need.gpus > slots.gpus or (need.gpus > slots.largest_gpus and not may_grow):
            raise ParameterError(
                f"Node {name} needs {need.gpus:g} GPUs, but no machine has more than "
                f"{slots.largest_gpus} for it. Lower training.devices or runner.gpus_per_node."
            )
    if slots.machines:
        return
    memory = ray.cluster_resources().get("memory", 0) / 1024**3
    for kind, wanted in options.memory_by_kind().items():
        if wanted > memory:
            raise ParameterError(
                f"--runner-params memory: {wanted:g} GB for a {kind} node, but this machine has "
                f"{memory:.1f} GB for nodes. Lower the value."
            )
