"""Errors on the command line: those the user can fix are shown without a traceback."""

import functools
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from signal import SIGINT
from typing import IO, Any, Final

import click
from kedro.config import MissingConfigException
from kedro.io import DatasetError, DatasetNotFoundError
from kedro.validation.exceptions import ParameterValidationError

from rsna19_kedro.cli_names import unknown_environment, unknown_name
from rsna19_kedro.commands import kedro_run
from rsna19_kedro.errors import InputError, causes, input_error, node_of
from rsna19_kedro.files import storage_problem, unmounted
from rsna19_kedro.strict import invalid_parameters

_SELECTING: Final = ("kedro.pipeline.pipeline", "kedro.framework.session.session")
"""Modules of Kedro that select the nodes of a run."""


class RunError(click.ClickException):
    """A message that names the node in which the run failed, if any."""

    def __init__(self, message: str, node: str = "") -> None:
        super().__init__(message)
        self._node = node

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message to standard error."""
        where = f" in {self._node}" if self._node else ""
        click.echo(f"Error{where}: {self.message}", file=file or sys.stderr)


def with_readable_errors(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Show errors that the user can fix as messages; all others keep their traceback."""

    @functools.wraps(callback)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return callback(*args, **kwargs)
        except Exception as error:
            message = message_for_user(error, kwargs)
            if not message:
                raise
            raise RunError(message, node_of(error)) from error
        except KeyboardInterrupt as stop:  # The runner has logged how to resume.
            raise SystemExit(getattr(stop, "status", 128 + SIGINT)) from None

    return wrapper


def message_for_user(error: Exception, options: Mapping[str, Any]) -> str:
    """Message of an error that the user can fix; empty for others, such as click's own."""
    if isinstance(error, MissingConfigException):
        return unknown_environment(options)
    if _of_selection(error) or (
        isinstance(error, DatasetNotFoundError) and options.get("load_versions")
    ):
        return unknown_name(options)
    if isinstance(error, InputError | ParameterValidationError | DatasetError):
        return error_message(error)
    if isinstance(error, OSError) and _is_storage_error(error):
        return error_message(error)
    return ""


def _of_selection(error: Exception) -> bool:
    """Whether Kedro raised an error because it cannot select the requested nodes."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return isinstance(error, ValueError) and frame.f_globals["__name__"] in _SELECTING


def _is_storage_error(error: OSError) -> bool:
    return bool(error.filename) and bool(storage_problem(error, Path(error.filename).parent))


def error_message(error: Exception) -> str:
    """Return the message of the innermost error that the user can fix."""
    reason = input_error(error)
    if reason is not None:
        return str(reason)
    if isinstance(error, ParameterValidationError):
        return _parameter_message(str(error))
    chain = list(causes(error))
    for cause in chain:
        if isinstance(cause, FileNotFoundError):
            remedy = unmounted(Path(cause.filename or "")) or (
                f" An earlier node makes it: {kedro_run('--only-missing-outputs')}"
            )
            return f"The file {cause.filename or cause} is missing.{remedy}"
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
            lines.append(f"{parameter}: {block.strip()}")
            continue
        for key, message, value in errors:
            if "validation error" in key:  # Of several keys together.
                lines.append(f"{parameter}: {message.removeprefix('Value error, ')}")
            else:
                lines.append(f"{parameter}.{key}: {message} (given: {value})")
    return invalid_parameters(lines) if lines else text
