"""Console display of nodes that run in parallel."""

import logging
import socket
import time
from collections.abc import Mapping
from datetime import timedelta

from rich import get_console
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rsna19_kedro.runners.schedule import Schedule
from rsna19_kedro.runners.worker import NodeRun

logger = logging.getLogger("rsna19_kedro.runs")

_PLAIN_EVERY_S = 60.0


class Display:
    """One line per running node and a line of counts; plain log lines without a terminal.

    Args:
        schedule: Source of the counts.
        runs: The last try of each node; read at every update.
        slots: Maximum number of parallel nodes, for the estimate of the remaining time.
    """

    def __init__(self, schedule: Schedule, runs: Mapping[str, NodeRun], slots: int) -> None:
        self._schedule, self._runs = schedule, runs
        self._slots = max(1, slots)
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
        if not self.live.console.is_terminal and now - self._last_log >= _PLAIN_EVERY_S:
            self._last_log = now
            running = "; ".join(
                f"{run.node} {_clock(_age(run))}{_percent(run)}" for run in self._running()
            )
            logger.info("%s. Running: %s", self.counts(), running or "nothing")

    def counts(self) -> str:
        """Done, running, waiting and failed nodes; the remaining time once a node is done."""
        schedule = self._schedule
        done = len(schedule.done) + len(schedule.unchanged)
        text = f"{done} of {len(schedule.nodes)} nodes done, "
        text += f"{len(schedule.running)} running, {schedule.waiting} waiting"
        if schedule.failed:
            text += f", {len(schedule.failed)} failed, {len(schedule.not_run)} skipped"
        left = self._seconds_left()
        return text if left is None else f"{text}, about {_clock(left)} left"

    def _running(self) -> list[NodeRun]:
        return [self._runs[name] for name in list(self._schedule.running) if name in self._runs]

    def _seconds_left(self) -> float | None:
        """Remaining cost times the seconds per cost so far, divided by the number of slots."""
        schedule, costs = self._schedule, self._schedule.costs
        done = sum(costs[name] for name in schedule.done)
        if not done:
            return None
        pace = sum(self._runs[name].end - self._runs[name].start for name in schedule.done) / done
        ended = {*schedule.done, *schedule.unchanged, *schedule.failed, *schedule.not_run}
        remaining = sum(cost for name, cost in costs.items() if name not in ended)
        elapsed = sum(min(_age(run), costs[run.node] * pace) for run in self._running())
        return max(0.0, remaining * pace - elapsed) / self._slots

    def _render(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        for run in self._running():
            host = "" if run.host in ("", socket.gethostname()) else f"{run.host} "
            table.add_row(
                Text(run.node, no_wrap=True, overflow="ellipsis"),
                Text(host + (run.device or "starting"), no_wrap=True),
                Text(_clock(_age(run)), no_wrap=True),
                Text(f"{run.text}{_percent(run)}", no_wrap=True, overflow="ellipsis"),
            )
        return Group(table, Text(self.counts(), style="bold"))


def _age(run: NodeRun) -> float:
    return max(0.0, time.time() - run.start)


def _percent(run: NodeRun) -> str:
    return "" if run.share is None else f" {100 * run.share:.0f} %"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds))).removeprefix("0:")
