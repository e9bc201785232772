"""Log file of a run: kept files, disk faults, and paths that may name a patient."""

import logging
import os
from pathlib import Path

import pytest

from rsna19_kedro.console import LogFile

logger = logging.getLogger("rsna19_kedro.test")


@pytest.fixture(autouse=True)
def _all_messages(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="rsna19_kedro")


def _written(folder: Path, *, hides_errors: bool = False, opens: bool = True) -> str:
    log = LogFile(folder, hides_errors=hides_errors)
    log.attach()
    logger.info("reads [a] file")
    logger.error("cannot read /ct/DOE_JOHN/IM1")
    if opens:
        log.open()
    command = "kedro run --params 'source=/ct/DOE JOHN,fast=true' --env test"
    logger.warning("Resume with:\n  %s", command)
    log.detach()
    logger.info("after the run")
    return "".join(path.read_text("utf-8") for path in folder.glob("*.log"))


def test_records_before_the_file_is_opened_are_written_too(tmp_path: Path) -> None:
    text = _written(tmp_path)
    assert "INFO     reads [a] file\n" in text
    assert "ERROR    cannot read" in text
    assert "after the run" not in text


def test_a_run_that_is_refused_leaves_no_file(tmp_path: Path) -> None:
    assert _written(tmp_path, opens=False) == ""
    assert not list(tmp_path.iterdir())


def test_the_source_of_new_studies_is_never_written(tmp_path: Path) -> None:
    text = _written(tmp_path, hides_errors=True)
    assert "DOE" not in text
    assert "Resume with:\n  kedro run --params 'source=***\n" in text


def test_the_oldest_files_are_removed(tmp_path: Path) -> None:
    for number in range(30):
        path = tmp_path / f"{number}.log"
        path.touch()
        os.utime(path, (1e9 + number, 1e9 + number))
    (tmp_path / "0.log").touch()  # Of a run that is active.
    _written(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert len(names) == 20
    assert {"0.log", "29.log"} <= names
    assert "11.log" not in names


def test_a_folder_that_cannot_be_written_does_not_end_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "logs").touch()
    log = LogFile(tmp_path / "logs")
    log.attach()
    log.open()
    logger.info("goes on")
    log.detach()
    assert "The log of this run is not written to a file" in caplog.text


def test_a_full_disk_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rsna19_kedro.console._new_file", lambda _: Path("/dev/full"))
    log = LogFile(tmp_path)
    log.attach()
    log.open()
    logger.info("goes on")
    log.detach()
    assert "Logging error" not in capsys.readouterr().err
