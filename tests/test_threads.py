"""OpenMP's threads sleep when they wait long; their number respects a container's quota."""

import os
import subprocess
import sys

import pytest

from rsna19_kedro import threads

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in NAMES:
        monkeypatch.setenv(name, "")  # So that the test's changes are undone.
        monkeypatch.delenv(name)
    monkeypatch.setattr(threads, "_chosen", set())


def settings():
    return {name: os.environ[name] for name in NAMES if name in os.environ}


def test_threads_sleep_when_they_wait_long():
    threads.share_cores()
    assert settings() == {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "10000"}
    assert threads.threads_of_user() is None


@pytest.mark.parametrize("name", NAMES[:3])
def test_the_users_way_to_wait_stays(monkeypatch, name):
    monkeypatch.setenv(name, "7")
    threads.share_cores()
    assert settings() == {name: "7"}


def test_a_quota_limits_the_threads(monkeypatch):
    monkeypatch.setattr(threads, "available_cores", lambda: 3)
    monkeypatch.setattr(threads, "_cores_without_quota", lambda: 64)
    threads.share_cores()
    assert settings() == {
        "OMP_WAIT_POLICY": "passive",
        "GOMP_SPINCOUNT": "10000",
        "OMP_NUM_THREADS": "3",
    }
    assert threads.threads_of_user() is None


def test_the_users_number_of_threads_stays(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.setattr(threads, "available_cores", lambda: 3)
    monkeypatch.setattr(threads, "_cores_without_quota", lambda: 64)
    threads.share_cores()
    assert os.environ["OMP_NUM_THREADS"] == "5"
    assert threads.threads_of_user() == "5"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_import_changes_nothing_and_loads_no_openmp():
    """The command line sets the variables when a run starts, before OpenMP reads them."""
    code = (
        "import os, rsna19_kedro.cli, rsna19_kedro.settings; from pathlib import Path; "
        f"print([name for name in {NAMES} if name in os.environ]); "
        "print([name for name in ('gomp', 'iomp', 'libomp') "
        "if name in Path('/proc/self/maps').read_text()])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines() == ["[]", "[]"]
