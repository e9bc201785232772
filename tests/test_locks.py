"""Locks: waiting, and taking over from dead processes, but never from another machine."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rsna19_kedro.locks import LockedError, Owner, held, lock_path, owner_of, owner_path
from rsna19_kedro.runners.run_locks import other_runs, registered

HOLD = """
import sys, time
from pathlib import Path
from rsna19_kedro.locks import held
with held([Path(sys.argv[1])], wait=True, waits_for=lambda *_: None):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def _holder(result: Path, seconds: float) -> subprocess.Popen[str]:
    """Start a process that holds a lock for some seconds, or until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(result), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_waits_for_the_owner_and_reports_it(tmp_path: Path) -> None:
    result, reported = tmp_path / "folder" / "oof.parquet", []
    process = _holder(result, 2)
    owner = owner_of(result)
    assert owner is not None
    assert owner.process == process.pid
    with held([result], wait=True, waits_for=lambda *call: reported.append(call)) as waited:
        assert waited
        assert reported == [(result, owner)]
        assert Owner.read(owner_path(result)).process == os.getpid()
    assert process.wait() == 0
    assert owner_of(result) is None
    assert not owner_path(result).exists()


def test_does_not_wait_if_wait_is_false(tmp_path: Path) -> None:
    process = _holder(tmp_path / "a", 60)
    try:
        with (
            pytest.raises(LockedError, match=f"a is being made by process {process.pid} on"),
            held([tmp_path / "b", tmp_path / "a"], wait=False, waits_for=lambda *_: None),
        ):
            pass
        assert owner_of(tmp_path / "b") is None  # Its lock is released.
    finally:
        process.kill()
        process.wait()


def test_takes_over_from_a_killed_process(tmp_path: Path) -> None:
    process = _holder(tmp_path / "a", 60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert owner_path(tmp_path / "a").exists()
    assert owner_of(tmp_path / "a") is None
    with held([tmp_path / "a"], wait=False, waits_for=lambda *_: None) as waited:
        assert not waited


def test_never_takes_over_from_another_machine(tmp_path: Path) -> None:
    owner = replace(Owner.of_this_process(), host="elsewhere")
    owner.write(owner_path(tmp_path / "a"))
    assert owner_of(tmp_path / "a") == owner
    with (
        pytest.raises(LockedError, match=r"on elsewhere since .* remove .*a\.owner\.json"),
        held([tmp_path / "a"], wait=True, waits_for=lambda *_: None),
    ):
        pass
    with pytest.raises(LockedError), held([tmp_path / "a"], wait=True, waits_for=print):
        pass  # The lock itself was released.


def test_runs_are_registered_while_they_last(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    other = tmp_path / "data" / ".runs" / "here-1"
    process = _holder(other, 60)
    with registered(tmp_path) as others:
        assert [owner.process for owner in others] == [process.pid]
    process.kill()
    process.wait()
    time.sleep(0.05)
    assert other_runs(tmp_path) == []
    assert not lock_path(other).exists()
    assert not owner_path(other).exists()
    with registered(None) as others:
        assert others == []
