"""Work on many items in several processes, with a progress bar."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from joblib import Parallel, delayed
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def progress_bar() -> Progress:
    """A bar with item count, elapsed time and time left, as used all over the project."""
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
