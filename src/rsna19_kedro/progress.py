"""Progress of long work: a line with a bar on a terminal, otherwise log lines once per minute."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple, TypeVar

from rich import get_console
from rich.console import RenderableType
from rich.progress import Progress, Task, TaskID
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

Item = TypeVar("Item")

logger = logging.getLogger("rsna19_kedro.runs")

_BAR, _PERCENT, _LEFT, _DETAILS = 10, 5, 15, 39
"""Widths of the columns after the title, in characters."""

_LOG_EVERY_S: Final = 60.0
_SPEED_WINDOW_S: Final = 300.0
"""Window of the speed estimate."""


class Line(NamedTuple):
    """One line about work in progress.

    Attributes:
        title: Name of the task.
        share: Completed share of the work; ``None`` if unknown.
        left_s: Remaining time in seconds; ``None`` if unknown.
        details: Shown on terminals of at least 120 columns only.
    """

    title: str
    share: float | None = None
    left_s: float | None = None
    details: str = ""

    @property
    def percent(self) -> str:
        """The share as text, empty if it is unknown."""
        return "" if self.share is None else f"{100 * self.share:.0f} %"

    @property
    def left(self) -> str:
        """The remaining time as text, empty if it is unknown."""
        return "" if self.left_s is None else f"{duration(self.left_s)} left"


Listener = Callable[[Line], None]
"""Receives the state of a progress bar at each change."""

_listener: Listener | None = None
_position = ""


def report_progress_to(listener: Listener | None) -> None:
    """Report the progress of all future bars to a function instead of drawing them.

    Args:
        listener: The function; ``None`` to draw bars again.
    """
    global _listener  # noqa: PLW0603 - a process has one console
    _listener = listener


def set_position(text: str) -> None:
    """Set the text before the title of each bar, such as ``12/39`` nodes."""
    global _position  # noqa: PLW0603 - a process runs one node at a time
    _position = text


def duration(seconds: float) -> str:
    """Format a duration: ``3 d 04 h``, ``2 h 05 min``, ``3 min`` or ``12 s``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(timedelta(seconds=seconds) / timedelta(minutes=1))
    days, hours = minutes // 1440, minutes // 60
    if days:
        return f"{days} d {hours % 24:02d} h"
    return f"{hours} h {minutes % 60:02d} min" if hours else f"{minutes} min"


def progress_table(lines: Iterable[Line], width: int) -> Table:
    """Lay out lines with title, bar, percentage and remaining time.

    Args:
        lines: The lines.
        width: Width of the terminal in characters. Long titles are shortened in the middle.
    """
    rest = _BAR + _PERCENT + _LEFT + 3
    has_details = width >= 80 + _DETAILS + 1
    title_width = max(10, min(80, width) - rest)
    columns = [title_width, _BAR, _PERCENT, _LEFT, *[_DETAILS] * has_details]
    table = Table.grid(padding=(0, 1, 0, 0))
    for number, size in enumerate(columns):
        table.add_column(width=size, no_wrap=True, justify="right" if number in (2, 3) else "left")
    for line in lines:
        bar: RenderableType = ""
        if line.share is not None:
            bar = ProgressBar(total=1, completed=line.share, width=_BAR)
        cells = [Text(shorten(line.title, title_width)), bar, Text(line.percent), Text(line.left)]
        table.add_row(*cells, *[Text(line.details)] * has_details)
    return table


def shorten(text: str, width: int) -> str:
    """Replace the middle of a text that is too long by an ellipsis."""
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    ellipsis = "~" if get_console().options.ascii_only else "…"
    return f"{text[: width - 1 - end]}{ellipsis}{text[len(text) - end :]}"


class _Bars(Progress):
    """Lines on the terminal, which are removed at the end."""

    def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
        return progress_table(map(_line_of, tasks), get_console().width)


class _ReportedProgress(Progress):
    """A progress bar that is reported to a listener and not drawn."""

    def __init__(self, listener: Listener) -> None:
        # Otherwise ``track`` leaves the updates to the thread that draws.
        super().__init__(disable=True, auto_refresh=False, speed_estimate_period=_SPEED_WINDOW_S)
        self._listener = listener

    def update(self, task_id: TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        self._report(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._report(task_id)

    def _report(self, task_id: TaskID) -> None:
        self._listener(_line_of(self._tasks[task_id]))


class _MinuteLog:
    """Logs the state of a progress bar once per minute."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, line: Line) -> None:
        if time.monotonic() - self._last >= _LOG_EVERY_S:
            self._last = time.monotonic()
            parts = filter(None, (line.percent, line.left, line.details))
            logger.info("%s: %s", line.title, ", ".join(parts))


def draws_bars() -> bool:
    """Whether the console can redraw lines: a terminal or a notebook, not a file or pipe."""
    console = get_console()
    return (console.is_interactive and console.file.isatty()) or console.is_jupyter


def progress_bar() -> Progress:
    """A progress bar; see ``rich.progress.Progress``.

    Its tasks may have a field ``details``, see ``Line``.
    """
    if _listener is not None:
        return _ReportedProgress(_listener)
    if not draws_bars():
        return _ReportedProgress(_MinuteLog())
    return _Bars(
        console=get_console(),
        transient=True,
        refresh_per_second=4,
        speed_estimate_period=_SPEED_WINDOW_S,
    )


def track(items: Sequence[Item], description: str) -> Iterator[Item]:
    """Yield the items, with a progress bar."""
    with progress_bar() as bar:
        yield from bar.track(items, description=description)


def _line_of(task: Task) -> Line:
    share = min(1.0, task.completed / task.total) if task.total else None
    title = f"{_position} {task.description}".strip()
    return Line(title, share, task.time_remaining, task.fields.get("details", ""))
