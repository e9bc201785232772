"""What a run shows on a terminal, in a file and in its log file."""

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pyte
import pytest

from .conftest import run_here

pytestmark = pytest.mark.end_to_end

TRAIN = ("--pipelines", "cnn_training", "--params", "fold:2,models:resnet18_400")


def _screens(
    project: Path, columns: int, *arguments: str, interrupt_at: str = ""
) -> Iterator[list[str]]:
    """Run ``kedro run`` on a terminal of 24 lines; yield its lines after every change.

    With ``interrupt_at``, press Ctrl-C when this text is shown for the first time.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {
        name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "kedro", "run", "--env", "test", *arguments],
        cwd=project,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environment, "TERM": "xterm-256color"},
        # A shell that runs the tests in the background ignores SIGINT for all its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    os.close(theirs)
    screen = pyte.Screen(columns, 24)
    stream = pyte.ByteStream(screen)
    expected = 0
    while select.select([ours], [], [], 120)[0]:
        try:
            stream.feed(os.read(ours, 65536))
        except OSError:  # The process has ended.
            break
        yield list(screen.display)
        if interrupt_at and not expected and interrupt_at in "".join(screen.display):
            process.send_signal(signal.SIGINT)
            expected = 130
    os.close(ours)
    assert process.wait() == expected, "\n".join(screen.display)


def _progress(screens: list[list[str]]) -> list[str]:
    """What follows the remaining time in the progress lines of the training."""
    line = re.compile(r"^1/1 resnet18_400 fold 2 \w+\s+━\S*\s+\d+ %\s+\d+ s left(.*)$")
    return [found[1] for screen in screens for text in screen if (found := line.match(text))]


@pytest.mark.slow
def test_a_training_shows_one_line_with_its_progress(project_copy: Path) -> None:
    screens = list(_screens(project_copy, 80, *TRAIN))
    progress = _progress(screens)
    assert progress
    assert not any("loss 0." in rest for rest in progress), "80 columns have no room for it"
    assert not any("━" in text for text in screens[-1]), "the line vanishes at the end"
    assert any("1/1 resnet18_400.fold_2.train, " in text for text in screens[-1])


@pytest.mark.slow
def test_after_ctrl_c_the_last_lines_are_the_command_that_resumes(project_copy: Path) -> None:
    screens = list(_screens(project_copy, 120, *TRAIN, interrupt_at="loss 0."))
    assert any("loss 0." in rest for rest in _progress(screens))
    lines = [text.strip() for text in screens[-1] if text.strip()]
    start = next(number for number, text in enumerate(lines) if "Stopped: " in text)
    assert "Stopped: 0 of 1 nodes done. Resume with:" in lines[start]
    words = " ".join(lines[start + 1 :]).split()  # The command may be wrapped.
    assert words[-3:] == [
        *("fold:2,models:resnet18_400", "--from-nodes", "resnet18_400.fold_2.train")
    ]


@pytest.mark.slow
def test_a_run_begins_with_what_it_does_and_logs_to_a_file(project_copy: Path) -> None:
    shutil.rmtree(project_copy / "data/08_reporting/logs")
    ran = run_here(project_copy, "--pipelines", "folds,cnn_training", *TRAIN[2:])
    assert ran.returncode == 0, ran.stdout
    lines = ran.stdout.splitlines()
    first = lines[0]
    for text in ("rsna19_kedro 0.", "environment test", "6 nodes", "1 model x 1 fold"):
        assert text in first
    assert "raw data data/01_raw (phantoms), CPU (" in first
    assert first.endswith("precision 32-true")
    (log,) = (project_copy / "data/08_reporting/logs").glob("*.log")
    logged = log.read_text()
    # The same lines, with the date, none wrapped.
    assert [line[11:] for line in logged.splitlines() if line.startswith("20")] == [
        line for line in lines if re.match(r"\d\d:\d\d:\d\d ", line)
    ]
    assert "Positive slices of epidural are in only" in logged
    assert "━" not in ran.stdout


@pytest.mark.slow
def test_errors_are_in_the_log_file_and_twenty_files_are_kept(project_copy: Path) -> None:
    folder = project_copy / "data/08_reporting/logs"
    shutil.rmtree(folder)
    folder.mkdir()
    for day in range(10, 35):
        path = folder / f"2026-01-{day}T00-00-00.log"
        path.touch()
        os.utime(path, (1e9 + day, 1e9 + day))
    (project_copy / "data/07_model_output/resnet18_400/fold_0/oof.parquet").unlink()
    ran = run_here(project_copy, "--pipelines", "folds,stacking")
    assert ran.returncode == 1
    logs = sorted(folder.iterdir())
    assert len(logs) == 20
    assert logs[0].name == "2026-01-16T00-00-00.log"
    message = ran.stdout[ran.stdout.index("Error in stacking.collect_oof") :].strip()
    assert message in logs[-1].read_text()


@pytest.mark.slow
def test_a_run_with_nothing_to_do_says_so_and_writes_no_file(project_copy: Path) -> None:
    folder = project_copy / "data/08_reporting/logs"
    before = set(folder.iterdir())
    ran = run_here(project_copy, "--pipelines", "folds", "--only-missing-outputs")
    assert "Nothing to do: the results of all 5 nodes are up to date" in ran.stdout
    assert "Running" not in ran.stdout
    assert set(folder.iterdir()) == before
