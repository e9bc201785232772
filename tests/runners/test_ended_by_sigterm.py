"""SIGTERM keeps its exit status, whichever exception the interrupted code raises."""

import os
import signal
import time

import pytest

from rsna19_kedro.runners.stops import Terminated, ended_by_sigterm


def _stopped(raised_instead: type[BaseException] | None) -> None:
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    except Terminated:
        if raised_instead is None:
            raise
        raise raised_instead from None  # As Ray's wait does.


@pytest.mark.parametrize("raised_instead", [None, KeyboardInterrupt])
def test_sigterm_ends_the_block_with_terminated(raised_instead) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated) as ended, ended_by_sigterm():
        _stopped(raised_instead)
    assert ended.value.status == 143
    assert signal.getsignal(signal.SIGTERM) == before


def test_ctrl_c_stays_ctrl_c() -> None:
    with pytest.raises(KeyboardInterrupt) as ended, ended_by_sigterm():
        raise KeyboardInterrupt
    assert not isinstance(ended.value, Terminated)
