"""The command line: Kedro's ``run`` with simpler ``--params`` and readable errors."""

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.utils import load_obj

from rsna19_kedro.cli_errors import with_readable_errors
from rsna19_kedro.cli_params import parse_params
from rsna19_kedro.cli_results import rsna19
from rsna19_kedro.errors import ParameterError, did_you_mean
from rsna19_kedro.runners import GPURunner

DEFAULT_RUNNER = "rsna19_kedro.runners.GPURunner"


def _params_callback(ctx: click.Context, param: click.Parameter, value: Any) -> dict[str, Any]:
    """Parse ``--params``; the file of ``--config`` gives a dictionary."""
    if isinstance(value, dict):
        return value
    return parse_params(value or "", ctx)


def _checked(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Check ``--runner`` and ``--runner-params`` before the run starts."""

    @functools.wraps(callback)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("runner") == DEFAULT_RUNNER:
            _check_runner_params(kwargs.get("runner_params") or {})
        else:
            _check_runner(str(kwargs.get("runner")))
        return callback(*args, **kwargs)

    return wrapper


def _check_runner(name: str) -> None:
    """Refuse a runner that does not exist.

    Raises:
        ParameterError: It cannot be imported.
    """
    try:
        load_obj(name, "kedro.runner")
    except (ImportError, AttributeError, ValueError) as error:
        hint = did_you_mean(name, [DEFAULT_RUNNER, "SequentialRunner"])
        raise ParameterError(
            f"Unknown runner {name!r}.{hint} Leave out --runner to use that of this project."
        ) from error


def _check_runner_params(given: dict[str, Any]) -> None:
    """Refuse a misspelt ``--runner-params`` key.

    Raises:
        ParameterError: ``GPURunner`` has no such option.
    """
    known = list(inspect.signature(GPURunner).parameters)
    for key in given:
        if key not in known:
            hint = did_you_mean(key, known)
            raise ParameterError(
                f"--runner-params: unknown key {key!r}.{hint} The keys are: {', '.join(known)}."
            )


def _project_run() -> click.Command:
    command = copy.copy(kedro_run)
    command.params = [copy.copy(parameter) for parameter in kedro_run.params]
    for parameter in command.params:
        if parameter.name == "params":
            parameter.callback = _params_callback
        elif parameter.name == "runner":
            parameter.default = DEFAULT_RUNNER
    command.callback = with_readable_errors(_checked(kedro_run.callback))  # type: ignore[arg-type]
    return command


run = _project_run()


@click.group(name="rsna19_kedro")
def cli() -> None:
    """Commands of this project."""


cli.add_command(run)
cli.add_command(rsna19)
