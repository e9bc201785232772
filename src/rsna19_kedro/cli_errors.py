"""Errors on the command line: those the user can fix are shown without a traceback."""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from signal import SIGINT
from typing import Any

import click
from kedro.io import DatasetError
from kedro.validation.exceptions import ParameterValidationError

from rsna19_kedro.errors import InputError, causes
from rsna19_kedro.files import storage_problem, unmounted

_WHERE_PARAMETERS = "All parameters are documented in conf/base/parameters/. Nothing was run."

_MAKE = " An earlier node makes it: run 'kedro run --only-missing-outputs'."


def with_readable_errors(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Show errors that the user can fix as messages; all others keep their traceback."""

    @functools.wraps(callback)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return callback(*args, **kwargs)
        except (InputError, ParameterValidationError, DatasetError, OSError) as error:
            if isinstance(error, OSError) and not _is_storage_error(error):
                raise
            raise click.ClickException(error_message(error)) from error
        except KeyboardInterrupt as stop:  # The runner has logged how to resume.
            raise SystemExit(getattr(stop, "status", 128 + SIGINT)) from None

    return wrapper


def _is_storage_error(error: OSError) -> bool:
    return bool(error.filename) and bool(storage_problem(error, Path(error.filename).parent))


def error_message(error: Exception) -> str:
    """Return the message of the innermost error that the user can fix."""
    chain = list(causes(error))
    for cause in reversed(chain):
        if isinstance(cause, InputError):
            return str(cause)
    if isinstance(error, ParameterValidationError):
        return _parameter_message(str(error))
    for cause in chain:
        if isinstance(cause, FileNotFoundError):
            return f"{error}\nThis file is missing.{unmounted(Path(cause.filename or '')) or _MAKE}"
    for cause in chain:
        if isinstance(cause, OSError) and cause.filename:
            problem = storage_problem(cause, Path(cause.filename).parent)
            if problem:
                return f"{error}\n{cause.filename}: {problem}."
    return str(error)


def _parameter_message(text: str) -> str:
    """Format Pydantic's errors, which Kedro passes on as text, as one line per key."""
    lines = []
    for parameter, block in re.findall(r"Parameter '(.+?)': (.*?)(?=\n- Parameter|\Z)", text, re.S):
        announced = re.search(r"(\d+) validation error", block)
        errors = re.findall(
            r"^(\S.*)\n  (.+?) \[type=\w+, input_value=(.*), input_type=\w+\]$", block, re.M
        )
        if announced is None or len(errors) != int(announced[1]):
            lines.append(f"  {parameter}: {block.strip()}")
            continue
        for key, message, value in errors:
            problem = message.replace("Extra inputs are not permitted", "unknown key")
            lines.append(f"  {parameter}.{key}: {problem} (given: {value})")
    if not lines:
        return text
    return "\n".join(["Invalid parameters:", *lines, _WHERE_PARAMETERS])
