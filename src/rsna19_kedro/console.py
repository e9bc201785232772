"""Handlers of the log: the console, and a file per run."""

import logging
import re
from contextlib import suppress
from datetime import datetime
from logging.handlers import MemoryHandler
from pathlib import Path
from threading import Timer
from typing import Final

from kedro.logging import RichHandler
from rich import get_console

from rsna19_kedro.progress import draws_bars

logger = logging.getLogger(__name__)

FILE_LOGGER: Final = logging.getLogger("rsna19_kedro.log_file")
"""Logs to the file only, not to the console."""
FILE_LOGGER.propagate = False
FILE_LOGGER.addHandler(logging.NullHandler())

_OPEN_AFTER_S: Final = 10.0
_MAX_LOG_FILES: Final = 20
_FORMAT: Final = "%(asctime)s %(levelname)-8s %(message)s"
_SOURCE: Final = re.compile(r"\bsource\s*[=:].*$", re.MULTILINE)
"""Path of new studies in a command, which may name a patient."""


class _PlainHandler(logging.Handler):
    """Writes lines of any length to the console."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            file = get_console().file  # The current standard output, which may be redirected.
            encoding = getattr(file, "encoding", None) or "utf-8"
            text = self.format(record).encode(encoding, "backslashreplace").decode(encoding)
            file.write(f"{text}\n")
            file.flush()
        except Exception:
            self.handleError(record)


def unwrap_log() -> None:
    """Stop wrapping log lines if the output is a file or pipe, so that ``grep`` finds them."""
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, RichHandler) and not draws_bars():
            plain = _PlainHandler(handler.level)
            plain.filters = list(handler.filters)
            plain.setFormatter(logging.Formatter(_FORMAT, "%H:%M:%S"))
            root.removeHandler(handler)
            root.addHandler(plain)


class LogFile(MemoryHandler):
    """Log file of one run.

    The records are kept in memory until ``open`` is called or ten seconds have passed, so that a
    run that is refused at its start leaves no file. The file never contains the ``source`` of
    new studies. A disk fault ends the file, not the run.

    Args:
        folder: Folder of the log files, of which the newest are kept.
        hides_errors: Whether the file contains no errors, which may name patients and their files.
    """

    def __init__(self, folder: Path, *, hides_errors: bool = False) -> None:
        super().__init__(capacity=1, flushLevel=logging.NOTSET)
        self._folder, self._hides_errors = folder, hides_errors
        self._timer = Timer(_OPEN_AFTER_S, self.open)
        self._timer.daemon = True
        self._closed = False

    def attach(self) -> None:
        """Receive all records that the console shows, and those of ``FILE_LOGGER``."""
        for source in (logging.getLogger(), FILE_LOGGER):
            source.addHandler(self)
        self._timer.start()

    def detach(self) -> None:
        """Write the buffered records, and close the file."""
        self._timer.cancel()
        self._closed = True
        for source in (logging.getLogger(), FILE_LOGGER):
            source.removeHandler(self)
        target = self.target
        self.close()
        if target is not None:
            target.close()

    def open(self) -> None:
        """Start writing the file, unless it is open."""
        self.acquire()
        try:
            if self._closed or self.target is not None:
                return
            path = _new_file(self._folder)
            self.setTarget(_File(path))
            self.flush()
        except OSError as error:
            self.detach()
            logger.warning("The log of this run is not written to a file: %s", error)
            return
        finally:
            self.release()
        shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        logger.info("Log file: %s", shown)

    def filter(self, record: logging.LogRecord) -> bool:
        """Leave out errors if they may name a patient."""
        hidden = self._hides_errors and record.levelno >= logging.ERROR
        return not hidden


class _File(logging.FileHandler):
    """A file that ends silently with the first disk fault."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self.setFormatter(logging.Formatter(_FORMAT, "%Y-%m-%d %H:%M:%S"))

    def format(self, record: logging.LogRecord) -> str:
        return _SOURCE.sub("source=***", super().format(record))

    def handleError(self, record: logging.LogRecord) -> None:
        pass

    def close(self) -> None:
        with suppress(OSError):
            super().close()


def _new_file(folder: Path) -> Path:
    """Create a file named by the time, and remove the oldest files of the folder.

    Runs that start in the same second get a number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in sorted(folder.glob("*.log"), key=_changed)[: 1 - _MAX_LOG_FILES]:
        old.unlink(missing_ok=True)
    name, number = datetime.now().astimezone().strftime("%Y-%m-%dT%H-%M-%S"), 1
    while True:
        path = folder / (f"{name}.log" if number == 1 else f"{name}_{number}.log")
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            number += 1
        else:
            return path


def _changed(path: Path) -> float:
    """Time of the last change; 0 if another run has removed the file."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
