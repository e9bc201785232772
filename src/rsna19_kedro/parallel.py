"""Parallel work on many items in processes or threads, with a progress bar."""

import atexit
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky import get_reusable_executor

from rsna19_kedro.errors import InputError
from rsna19_kedro.progress import progress_bar

Item = TypeVar("Item")
Result = TypeVar("Result")


def available_cores() -> int:
    """Number of CPU cores that this process may use, by its affinity and its container's quota."""
    return int(cpu_count())


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
        items: Items to process.
        description: Text of the progress bar.
        workers: Number of processes; ``None`` uses all cores, 1 uses this process.

    Yields:
        One result per item. Only a few items per worker are computed ahead of the consumer, so
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


def end_workers() -> None:
    """End the idle processes of ``map_in_processes``, which joblib would keep for five minutes."""
    get_reusable_executor().shutdown(wait=True)


_STALL_S = 60.0
_JOIN_S = 2.0
"""Longest time to wait for reader threads to end."""


def prefetch(
    make: Callable[[Item], Result],
    items: Iterable[Item],
    threads: int,
    *,
    stall_s: float = _STALL_S,
) -> Iterator[Result]:
    """Yield ``make(item)`` in the order of the items, computed ahead by threads.

    Args:
        make: Called from the threads; should release the interpreter lock while it works.
        items: Items to process.
        threads: Number of threads; 0 computes each result when it is requested. At most two
            results per thread are computed ahead.
        stall_s: Longest time to wait for a result, in seconds.

    Raises:
        InputError: A thread returned no result within ``stall_s``.
        Exception: Any error that ``make`` raised.
    """
    if not threads:
        yield from map(make, items)
        return
    work: SimpleQueue[tuple[Future[Result], Item] | None] = SimpleQueue()

    def serve() -> None:
        while (task := work.get()) is not None:
            future, item = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(make(item))
            except BaseException as error:
                future.set_exception(error)

    # Not a pool of concurrent.futures: a thread that hangs must not keep the process from ending.
    readers = [Thread(target=serve, daemon=True) for _ in range(threads)]
    for reader in readers:
        reader.start()
    waiting: deque[Future[Result]] = deque()

    def stop() -> None:
        for future in waiting:
            future.cancel()
        for _ in readers:
            work.put(None)
        until = time.monotonic() + _JOIN_S
        for reader in readers:
            reader.join(max(0.0, until - time.monotonic()))

    # A thread that is inside torch when the interpreter ends would abort the process (status 134).
    atexit.register(stop)
    try:
        for item in items:
            waiting.append(Future())
            work.put((waiting[-1], item))
            if len(waiting) > 2 * threads:
                yield _result(waiting.popleft(), stall_s)
        while waiting:
            yield _result(waiting.popleft(), stall_s)
    finally:
        atexit.unregister(stop)
        stop()


def _result(future: "Future[Result]", stall_s: float) -> Result:
    try:
        return future.result(stall_s)
    except TimeoutError as error:
        if future.done():
            raise
        raise InputError(
            f"No data could be read for {stall_s:g} s. Check the disk that contains data/, then "
            "resume the run."
        ) from error
