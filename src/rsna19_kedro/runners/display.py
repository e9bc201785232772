"""What the console shows while nodes run side by side."""

import logging
import time
from dataclasses import dataclass
from typing import Any

from rich import get_console
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rsna19_kedro.runners.schedule import Schedule

logger = logging.getLogger("rsna19_kedro.runs")

_PLAIN_EVERY_S = 60.0


@dataclass
class _Line:
    """A running node."""

    since: float
    where: str = "starts"
    text: str = ""
    share: float | None = None


class Display:
    """One line a running node, and a line of counts; plain log lines where there is no terminal.

    Args:
        schedule: Counts are read from it.
        slots: How many nodes run side by side at most, for the time left.
    """

    def __init__(self, schedule: Schedule, slots: float) -> None:
        self._schedule = schedule
        self._slots = max(1.0, slots)
        self._lines: dict[str, _Line] = {}
        self._seconds = 0.0
        self._said = time.monotonic()
        console = get_console()
        self._live = (
            Live(get_renderable=self._render, console=console, refresh_per_second=2, transient=True)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> "Display":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._live is not None:
            self._live.stop()

    def start(self, node: str) -> None:
        """A node was handed out."""
        self._lines[node] = _Line(time.monotonic())

    def place(self, node: str, where: str) -> None:
        """A worker began with it."""
        if node in self._lines:
            self._lines[node] = _Line(time.monotonic(), where)

    def progress(self, node: str, text: str, done: float, total: float | None) -> None:
        """What the node says of itself."""
        if node in self._lines:
            line = self._lines[node]
            line.text, line.share = text, done / total if total else None

    def end(self, node: str) -> None:
        """It runs no longer."""
        line = self._lines.pop(node, None)
        if line is not None:
            self._seconds += time.monotonic() - line.since

    def tick(self) -> None:
        """Say where the run is, once a minute, if nothing is drawn."""
        now = time.monotonic()
        if self._live is None and now - self._said >= _PLAIN_EVERY_S:
            self._said = now
            running = "; ".join(
                f"{name} {_clock(now - line.since)}{_percent(line)}"
                for name, line in self._lines.items()
            )
            logger.info("%s. Running: %s", self.counts(), running or "nothing")

    def counts(self) -> str:
        """Done, running, waiting, failed, and the time left once a node has shown how long."""
        schedule = self._schedule
        text = f"{len(schedule.done)} of {len(schedule.nodes)} nodes done, "
        text += f"{len(schedule.running)} running, {schedule.waiting} waiting"
        if schedule.failed:
            text += f", {len(schedule.failed)} failed, {len(schedule.not_run)} cannot run"
        left = self._seconds_left()
        return text if left is None else f"{text}, about {_clock(left)} left"

    def _seconds_left(self) -> float | None:
        """Costs that are left, at the pace so far, spread over the slots."""
        costs = self._schedule.costs
        paid = sum(costs[name] for name in self._schedule.done)
        if not paid:
            return None
        pace = self._seconds / paid
        ended = {*self._schedule.done, *self._schedule.failed, *self._schedule.not_run}
        owed = sum(cost for name, cost in costs.items() if name not in ended)
        begun = sum(
            min(time.monotonic() - line.since, costs[name] * pace)
            for name, line in self._lines.items()
        )
        return max(0.0, owed * pace - begun) / self._slots

    def _render(self) -> RenderableType:
        now = time.monotonic()
        table = Table.grid(padding=(0, 2))
        for name, line in list(self._lines.items()):
            table.add_row(
                Text(name, no_wrap=True, overflow="ellipsis"),
                Text(line.where, no_wrap=True),
                Text(_clock(now - line.since), no_wrap=True),
                Text(f"{line.text}{_percent(line)}", no_wrap=True, overflow="ellipsis"),
            )
        return Group(table, Text(self.counts(), style="bold"))


def _percent(line: _Line) -> str:
    return "" if line.share is None else f" {100 * line.share:.0f} %"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
