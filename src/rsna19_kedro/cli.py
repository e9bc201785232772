"""The project's command line: Kedro's own ``run`` with friendlier ``--params`` and errors."""

import copy
import functools
import inspect
import re
from collections.abc import Callable
from signal import SIGINT
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.io import DatasetError
from kedro.validation.exceptions import ParameterValidationError

from rsna19_kedro.cli_params import parse_params
from rsna19_kedro.cli_results import rsna19
from rsna19_kedro.errors import InputError, ParameterError, causes, did_you_mean
from rsna19_kedro.runners import GPURunner

DEFAULT_RUNNER = "rsna19_kedro.runners.GPURunner"

_WHERE_PARAMETERS = "What there is, with comments: conf/base/parameters/. Nothing was run."


def _params_callback(ctx: click.Context, param: click.Parameter, value: Any) -> dict[str, Any]:
    """Parse ``--params``; a dict comes from the file of ``--config``."""
    if isinstance(value, dict):
        return value
    return parse_params(value or "", ctx)


def _with_readable_errors(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Show what the user can mend as a message, and everything else as the bug that it is."""

    @functools.wraps(callback)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            if kwargs.get("runner") == DEFAULT_RUNNER:
                _check_runner_params(kwargs.get("runner_params") or {})
            return callback(*args, **kwargs)
        except (InputError, ParameterValidationError, DatasetError) as error:
            raise click.ClickException(_message(error)) from error
        except KeyboardInterrupt as stop:  # The runner has said what is kept and how to resume.
            raise SystemExit(getattr(stop, "status", 128 + SIGINT)) from None

    return wrapper


def _check_runner_params(given: dict[str, Any]) -> None:
    """Refuse a misspelt ``--runner-params`` key.

    Raises:
        ParameterError: A key that ``GPURunner`` does not take.
    """
    known = list(inspect.signature(GPURunner).parameters)
    for key in given:
        if key not in known:
            hint = did_you_mean(key, known)
            raise ParameterError(
                f"--runner-params: unknown key {key!r}.{hint} The keys are: {', '.join(known)}."
            )


def _message(error: Exception) -> str:
    """The message of the innermost error that is meant for the user."""
    chain = list(causes(error))
    for cause in reversed(chain):
        if isinstance(cause, InputError):
            return str(cause)
    if isinstance(error, ParameterValidationError):
        return _parameter_message(str(error))
    if any(isinstance(cause, FileNotFoundError) for cause in chain):
        return (
            f"{error}\nThis file is missing. An earlier step makes it: "
            "'kedro run --only-missing-outputs' makes all that is missing."
        )
    return str(error)


def _parameter_message(text: str) -> str:
    """Pydantic's findings, a line a key: Kedro hands them on as text."""
    found = []
    for parameter, block in re.findall(r"Parameter '(.+?)': (.*?)(?=\n- Parameter|\Z)", text, re.S):
        announced = re.search(r"(\d+) validation error", block)
        errors = re.findall(
            r"^(\S.*)\n  (.+?) \[type=\w+, input_value=(.*), input_type=\w+\]$", block, re.M
        )
        if announced is None or len(errors) != int(announced[1]):
            found.append(f"  {parameter}: {block.strip()}")
            continue
        for key, what, value in errors:
            said = what.replace("Extra inputs are not permitted", "there is no such key")
            found.append(f"  {parameter}.{key}: {said} (given: {value})")
    if not found:
        return text
    return "\n".join(["These parameters cannot be used:", *found, _WHERE_PARAMETERS])


def _project_run() -> click.Command:
    command = copy.copy(kedro_run)
    command.params = [copy.copy(parameter) for parameter in kedro_run.params]
    for parameter in command.params:
        if parameter.name == "params":
            parameter.callback = _params_callback
        elif parameter.name == "runner":
            parameter.default = DEFAULT_RUNNER
    command.callback = _with_readable_errors(kedro_run.callback)  # type: ignore[arg-type]
    return command


run = _project_run()


@click.group(name="rsna19_kedro")
def cli() -> None:
    """Commands of this project."""


cli.add_command(run)
cli.add_command(rsna19)
