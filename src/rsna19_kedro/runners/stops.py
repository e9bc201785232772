"""Stops of a run by Ctrl-C and by SIGTERM, which batch systems send."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM: the run ends as by Ctrl-C, with the exit status of SIGTERM."""

    status = 128 + signal.SIGTERM


@contextmanager
def handled(number: signal.Signals, handler: Any = None) -> Iterator[None]:
    """Handle a signal by another function inside this block, and as before after it.

    Outside of the main thread, which alone may set handlers, nothing changes.

    Args:
        number: The signal.
        handler: As for ``signal.signal``; ``None`` leaves the one that is set, and undoes what
            the block sets.
    """
    before = signal.getsignal(number)
    try:
        with suppress(ValueError, TypeError):
            signal.signal(number, handler or before)
        yield
    finally:
        with suppress(ValueError, TypeError):
            signal.signal(number, before)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """End this block by ``Terminated`` when SIGTERM arrives."""
    received = []

    def terminate(*_: object) -> None:
        received.append(True)
        raise Terminated

    try:
        with handled(signal.SIGTERM, terminate):
            yield
    except KeyboardInterrupt as stop:  # Ray turns whatever a handler raises into a plain one.
        if received and not isinstance(stop, Terminated):
            raise Terminated from stop
        raise
