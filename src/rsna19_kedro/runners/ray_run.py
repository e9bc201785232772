"""A run on Ray: hand out what is ready, mend what dies, go on beside what fails."""

import logging
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import ray
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from pluggy import PluginManager
from ray.exceptions import RayError

from rsna19_kedro.errors import InputError
from rsna19_kedro.runners.display import Display
from rsna19_kedro.runners.facts import Facts
from rsna19_kedro.runners.machine import Mode, RunnerOptions
from rsna19_kedro.runners.needs import Needs, needs_of
from rsna19_kedro.runners.pool import Pool, is_death, pack
from rsna19_kedro.runners.ray_session import RaySession, Room, stop_on_sigterm
from rsna19_kedro.runners.schedule import Schedule
from rsna19_kedro.runners.summary import failure_text, how_to_go_on
from rsna19_kedro.runners.worker import Outcome, Setup

logger = logging.getLogger("rsna19_kedro.runs")

_POLL_S = 0.5
_EPSILON = 1e-6


class RayRun:
    """One run of a pipeline on Ray.

    Args:
        pipeline: What is to run.
        catalog: Its datasets, all of them persistent.
        hooks: Kedro's hook manager of this process.
        options: Devices and retries.
        run_id: Kedro's name of the run.
        is_async: Kedro's option to load and save in threads.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        catalog: CatalogProtocol,
        hooks: Any,
        options: RunnerOptions,
        run_id: str | None,
        is_async: bool,
    ) -> None:
        self.pipeline, self.catalog, self.hooks = pipeline, catalog, hooks
        self.options, self.run_id, self.is_async = options, run_id, is_async
        self.tries: Counter[str] = Counter()
        self.facts = Facts(run_id)
        self.payloads = {node.name: pack(node, catalog) for node in pipeline.nodes}

    def run(self, mode: Mode) -> None:
        """Run all nodes that can run.

        Raises:
            InputError: Nodes failed; the message is the summary. Or a node asks for more than
                there is.
            KeyboardInterrupt: Ctrl-C or SIGTERM, once all workers are gone.
        """
        if not self.pipeline.nodes:
            return
        started = time.monotonic()
        with stop_on_sigterm(), RaySession(self.options) as self.session:
            self.room = self.session.room
            self.needs = needs_of(self.pipeline.nodes, self.catalog, gpus=self.room.gpus > 0)
            _check_room(self.needs, self.room, self.options)
            logger.info(
                "On Ray (%s): %s; ready after %.1f s",
                *(mode.reason, self.room.text, time.monotonic() - started),
            )
            costs = {name: needs.cost for name, needs in self.needs.items()}
            self.schedule = Schedule(self.pipeline, costs)
            reuse = self.session.simulated
            self.pool = Pool(self._setup(), self.options.memory_by_kind(), reuse)
            try:
                with Display(self.schedule, self.room.gpus + self.room.cpus) as self.display:
                    self._loop()
            except KeyboardInterrupt:
                self._interrupted()
                raise
            finally:
                self.facts.save(self.catalog)
        if self.schedule.failed:
            raise InputError(failure_text(self.schedule, self._resume()))

    def _setup(self) -> Setup:
        from kedro.framework.project import PACKAGE_NAME

        loggers = [logging.getLogger(), *map(logging.getLogger, logging.root.manager.loggerDict)]
        levels = {log.name: log.level for log in loggers if log.level}
        paths = tuple(path for path in sys.path if path)
        return Setup(PACKAGE_NAME, str(Path.cwd()), paths, levels, self.run_id, self.is_async)

    def _loop(self) -> None:
        schedule = self.schedule
        while schedule.active:
            for name in schedule.startable(self._fits, self._slot):
                self._start(name)
            ended = self.pool.wait(_POLL_S)
            self._hear()
            for name, answer in ended:
                self._end(name, answer)
            self.display.tick()

    def _slot(self, name: str) -> str:
        return "gpu" if self.needs[name].gpus else "cpu"

    def _fits(self, name: str) -> bool:
        """Whether what runs leaves room; read anew, so that each start counts."""
        running = self.schedule.running
        if self.needs[name].gpus:
            taken = sum(self.needs[other].gpus for other in running)
            return taken + self.needs[name].gpus <= self.room.gpus + _EPSILON
        taken = sum(not self.needs[other].gpus for other in running)
        return taken + 1 <= self.room.cpus + _EPSILON

    def _start(self, name: str) -> None:
        node = self.schedule.nodes[name]
        self.schedule.start(name)
        self.facts.submitted(name, self.needs[name], self.tries[name])
        self.display.start(name)
        self._hook("before_node_run", node=node, inputs={})
        self.pool.submit(node, self.payloads[name], self.needs[name])

    def _hear(self) -> None:
        """Messages of workers: where nodes run, what they log, how far they are."""
        for kind, name, *rest in self.pool.messages():
            if kind == "start":
                pid, host, device = rest
                self.session.pids.add(pid)
                self.facts.placed(name, pid, host, device)
                self.display.place(name, device if self.session.local else f"{host} {device}")
            elif kind == "progress":
                self.display.progress(name, *rest)
            elif kind == "log":
                source, level, text = rest
                log = logging.getLogger(source)
                if log.isEnabledFor(level):
                    log.log(level, "%s | %s", name, text, extra={"markup": False})

    def _end(self, name: str, answer: Outcome | RayError) -> None:
        self.display.end(name)
        if isinstance(answer, RayError):
            self._died(name, answer)
            return
        self.facts.ended(answer)
        if answer.error:
            self._failed(name, answer.error, answer.trace)
            return
        self.schedule.finish(name)
        node = self.schedule.nodes[name]
        for output in node.outputs:
            self.catalog.release(output)  # Forget what a file system's cache said of it.
        self._hook("after_node_run", node=node, inputs={}, outputs={})

    def _died(self, name: str, error: RayError) -> None:
        """A worker is gone: try again, unless it was tried often enough."""
        reason = " ".join(str(error).split())[:200]
        self.session.keep_logs = self.session.local
        if is_death(error) and self.tries[name] < self.options.max_retries:
            self.tries[name] += 1
            logger.warning(
                "%s: its worker died (%s); try %d of %d",
                *(name, reason, self.tries[name] + 1, self.options.max_retries + 1),
            )
            self.schedule.again(name)
            return
        tried = f" {self.tries[name] + 1} times" if self.tries[name] else ""
        where = f"; Ray's logs are in {self.session.folder}" if self.session.local else ""
        self.facts.lost(name)
        self._failed(name, f"its worker died{tried}: {reason}{where}", "")

    def _failed(self, name: str, error: str, trace: str) -> None:
        self.schedule.fail(name, error)
        logger.error("%s failed: %s", name, trace or error, extra={"markup": False})

    def _hook(self, event: str, **arguments: Any) -> None:
        """Call the hooks that belong to this process; all others run in the workers."""
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
        return how_to_go_on(self.pipeline, self.schedule.not_done, self.catalog)

    def _interrupted(self) -> None:
        logger.warning(
            "Stopped: %s. %d running nodes are killed; go on with:\n  %s",
            *(self.display.counts(), len(self.schedule.running), self._resume()),
        )
        for name in self.schedule.running:
            self.facts.lost(name)
        if not self.session.local:
            self.pool.cancel()


def _check_room(needs: dict[str, Needs], room: Room, options: RunnerOptions) -> None:
    """Refuse what could never start.

    Raises:
        InputError: A node asks for more cards or memory than any machine has.
    """
    may_grow = room.shared and options.gpus is not None
    for name, need in needs.items():
        if need.gpus > room.gpus or (need.gpus > room.largest_gpus and not may_grow):
            raise InputError(
                f"Node {name} asks for {need.gpus:g} GPUs, but there is no machine with more than "
                f"{room.largest_gpus:g} for it. Lower training.devices or runner.gpus_per_node."
            )
    if room.shared:
        return
    memory = ray.cluster_resources().get("memory", 0) / 1024**3
    for kind, wanted in options.memory_by_kind().items():
        if wanted > memory:
            raise InputError(
                f"--runner-params memory: {wanted:g} GB for a {kind} node, but this machine has "
                f"{memory:.1f} GB for nodes. Ask for less."
            )
