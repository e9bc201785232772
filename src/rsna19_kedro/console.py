"""Handlers of the log: the console, and a file per run."""

import logging
import time
from datetime import datetime
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Final

from kedro.logging import RichHandler
from rich import get_console

logger = logging.getLogger(__name__)

FILE_LOGGER: Final = logging.getLogger("rsna19_kedro.log_file")
"""Logs to the file only, not to the console."""

_WAIT_S: Final = 10.0

_KEPT: Final = 20
"""Number of log files that are kept."""

_FORMAT: Final = "%(asctime)s %(levelname)-8s %(message)s"


class _PlainHandler(logging.Handler):
    """Writes lines of any length to the console."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            file = get_console().file  # The current standard output, which may be redirected.
            file.write(f"{self.format(record)}\n")
            file.flush()
        except Exception:
            self.handleError(record)


def unwrap_log() -> None:
    """Log lines of any length if the console is not a terminal, so that ``grep`` finds them.

    Kedro's handler would wrap them at 80 columns.
    """
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, RichHandler) and not handler.console.is_terminal:
            plain = _PlainHandler()
            plain.setFormatter(logging.Formatter(_FORMAT, "%H:%M:%S"))
            root.removeHandler(handler)
            root.addHandler(plain)


class LogFile(MemoryHandler):
    """Log file of one run.

    The records are kept in memory until ``open`` is called or 10 seconds have passed, so that a
    mistake leaves no file.

    Args:
        folder: Folder of the log files, of which the newest are kept.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(capacity=1000, flushLevel=logging.CRITICAL + 1)
        self._folder, self._start = folder, time.monotonic()

    def attach(self) -> None:
        """Receive all records that the console shows, and those of ``FILE_LOGGER``."""
        logging.getLogger().addHandler(self)
        FILE_LOGGER.propagate = False
        FILE_LOGGER.addHandler(self)

    def detach(self) -> None:
        """Write what is left, and close the file."""
        for source in (logging.getLogger(), FILE_LOGGER):
            source.removeHandler(self)
        target = self.target
        self.close()
        if target is not None:
            target.close()

    def open(self) -> None:
        """Start writing the file, unless it is open."""
        if self.target is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        older = sorted(self._folder.glob("*.log"))
        for old in older[: max(0, len(older) - _KEPT + 1)]:
            old.unlink(missing_ok=True)
        path = _new_file(self._folder)
        target = logging.FileHandler(path, encoding="utf-8")
        target.setFormatter(logging.Formatter(_FORMAT, "%Y-%m-%d %H:%M:%S"))
        self.setTarget(target)
        self.flush()
        shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        logger.info("Log file: %s", shown)

    def shouldFlush(self, record: logging.LogRecord) -> bool:
        """Whether to write now: always, once the file is open."""
        if time.monotonic() - self._start > _WAIT_S:
            self.open()
        return self.target is not None or super().shouldFlush(record)


def _new_file(folder: Path) -> Path:
    """Create a file named by the time; runs that start in the same second get a number."""
    name, number = datetime.now().astimezone().strftime("%Y-%m-%dT%H-%M-%S"), 1
    while True:
        path = folder / (f"{name}.log" if number == 1 else f"{name}_{number}.log")
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            number += 1
        else:
            return path
