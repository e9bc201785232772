"""Work on many items in several processes, with a progress bar."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from joblib import Parallel, delayed
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


Listener = Callable[[str, float, float | None], None]
"""Takes the text of a bar, what is done, and the whole."""

_listener: Listener | None = None


def report_progress_to(listener: Listener | None) -> None:
    """Tell a function of every step of the bars that are made from now on, and draw none.

    Args:
        listener: Where a worker process sends its progress; ``None`` to draw bars again.
    """
    global _listener  # noqa: PLW0603 - a process has one console
    _listener = listener


class _ReportedProgress(Progress):
    """A bar that is not drawn but told to a listener."""

    def __init__(self, listener: Listener) -> None:
        super().__init__(disable=True)
        self._tell = listener

    def update(self, task_id: TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        self._report(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._report(task_id)

    def _report(self, task_id: TaskID) -> None:
        task = self._tasks[task_id]
        self._tell(task.description, task.completed, task.total)


def progress_bar() -> Progress:
    """A bar with item count, elapsed time and time left, as used all over the project."""
    if _listener is not None:
        return _ReportedProgress(_listener)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        refresh_per_second=4,
    )


def map_in_processes(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    description: str,
    workers: int | None = None,
) -> Iterator[Result]:
    """Yield ``function(item)`` in the order of the items, computed by worker processes.

    Args:
        function: Picklable function of one item.
        items: What to work on.
        description: Text in front of the progress bar.
        workers: Number of processes; ``None`` takes all cores, 1 stays in this process.

    Yields:
        One result an item. At most a few items a worker are ahead of the consumer, so
        memory does not grow with the number of items.
    """
    jobs = min(workers or available_cores(), max(len(items), 1))
    with progress_bar() as progress:
        task = progress.add_task(description, total=len(items))
        results = Parallel(n_jobs=jobs, return_as="generator", pre_dispatch="4 * n_jobs")(
            delayed(function)(item) for item in items
        )
        for result in results:
            progress.advance(task)
            yield result
