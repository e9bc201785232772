"""Console display of nodes that run in parallel."""

import logging
import socket
import time
from collections.abc import Mapping

from rich import get_console
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from rsna19_kedro.progress import Line, draws_bars, duration, progress_table
from rsna19_kedro.runners.schedule import Schedule
from rsna19_kedro.runners.time_left import TimeLeft
from rsna19_kedro.runners.worker import NodeRun

logger = logging.getLogger("rsna19_kedro.runs")

_PLAIN_EVERY_S = 60.0


class Display:
    """One line per running node and a line of counts; plain log lines without a terminal.

    Args:
        schedule: Source of the counts.
        runs: The last try of each node; read at every update.
        time_left: Estimate of the remaining time of the run.
    """

    def __init__(
        self, schedule: Schedule, runs: Mapping[str, NodeRun], time_left: TimeLeft
    ) -> None:
        self._schedule, self._runs, self._time_left = schedule, runs, time_left
        self._last_log = time.monotonic()
        # Draws the lines inside its block, if there is a terminal.
        self.live = Live(
            get_renderable=self._render,
            console=get_console(),
            refresh_per_second=2,
            transient=True,
        )

    def tick(self) -> None:
        """Log the state of the run once per minute if there is no terminal."""
        now = time.monotonic()
        if not draws_bars() and now - self._last_log >= _PLAIN_EVERY_S:
            self._last_log = now
            running = "; ".join(
                " ".join(filter(None, (run.node, duration(_age(run)), _line(run).percent)))
                for run in self._running()
            )
            logger.info("%s. Running: %s", self.counts(), running or "nothing")

    def counts(self) -> str:
        """Done, running, waiting and failed nodes; the remaining time if it can be estimated."""
        schedule = self._schedule
        done = len(schedule.done) + len(schedule.unchanged)
        text = f"{done} of {len(schedule.nodes)} nodes done, "
        text += f"{len(schedule.running)} running, {schedule.waiting} waiting"
        if schedule.failed:
            text += f", {len(schedule.failed)} failed, {len(schedule.not_run)} skipped"
        waiting = dict.fromkeys(set(schedule.not_done) - {*schedule.failed, *schedule.not_run}, 0.0)
        ages = {run.node: _age(run) for run in self._running()}
        left = self._time_left.seconds(waiting | ages)
        return text if left is None else f"{text}, about {duration(left)} left"

    def _running(self) -> list[NodeRun]:
        return [self._runs[name] for name in list(self._schedule.running) if name in self._runs]

    def _render(self) -> RenderableType:
        lines = [_line(run) for run in self._running()]
        table = progress_table(lines, get_console().width)
        return Group(table, Text(self.counts(), style="bold"))


def _line(run: NodeRun) -> Line:
    """Node, device and age of a running node, and the progress that it reports."""
    host = "" if run.host in ("", socket.gethostname()) else f"{run.host} "
    title = f"{run.node} ({host}{run.device or 'starting'}, {duration(_age(run))})"
    return (run.line or Line(""))._replace(title=title)


def _age(run: NodeRun) -> float:
    return max(0.0, time.time() - run.start)
