"""Stopping a run by Ctrl-C or by SIGTERM, which batch systems send."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM was received: the run ends as after Ctrl-C, with the exit status of SIGTERM."""

    status = 128 + signal.SIGTERM


@contextmanager
def handled(number: signal.Signals, handler: Any = None) -> Iterator[None]:
    """Replace the handler of a signal inside this block, and restore it afterwards.

    Does nothing outside the main thread, which alone may set handlers.

    Args:
        number: The signal.
        handler: As for ``signal.signal``; ``None`` keeps the current handler and restores it if
            the block changes it.
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
    """Raise ``Terminated`` inside this block when SIGTERM arrives."""
    received = []

    def terminate(*_: object) -> None:
        received.append(True)
        raise Terminated

    try:
        with handled(signal.SIGTERM, terminate):
            yield
    except KeyboardInterrupt as stop:  # Ray replaces the handler's exception by a plain one.
        if received and not isinstance(stop, Terminated):
            raise Terminated from stop
        raise
