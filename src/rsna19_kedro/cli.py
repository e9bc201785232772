"""The command line: Kedro's ``run`` with simpler ``--params`` and readable errors."""

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Any, Final

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.utils import load_obj

from rsna19_kedro.cli_errors import with_readable_errors
from rsna19_kedro.cli_params import parse_params
from rsna19_kedro.cli_results import rsna19
from rsna19_kedro.errors import ParameterError, did_you_mean
from rsna19_kedro.runners import GPURunner
from rsna19_kedro.scope import GLOBAL_KEYS, NEW_STUDY_KEYS, REUSE_KEYS, SCOPE_KEYS
from rsna19_kedro.threads import share_cores

_EXAMPLES: Final = (
    "kedro run --env demo",
    "kedro run --only-missing-outputs",
    "kedro run --pipelines cnn_training --params models:resnet18_400,fold:2",
    "kedro run --pipelines new_study --params source=/path/to/dicom",
    "kedro run --runner-params gpus=4",
)

DEFAULT_RUNNER = "rsna19_kedro.runners.GPURunner"


def _params_callback(ctx: click.Context, param: click.Parameter, value: Any) -> dict[str, Any]:
    """Parse ``--params``; the file of ``--config`` gives a dictionary."""
    if isinstance(value, dict):
        return value
    return parse_params(value or "", ctx)


def _checked(callback: Callable[..., Any]) -> Callable[..., Any]:
    """Set OpenMP up, and check ``--runner`` and ``--runner-params`` before the run starts.

    Passes ``--pipeline`` on as ``--pipelines``, without Kedro's warning.
    """

    @functools.wraps(callback)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        share_cores()
        if kwargs.get("pipeline") and not kwargs.get("pipelines"):
            kwargs |= {"pipelines": [kwargs["pipeline"]], "pipeline": None}
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


def _help() -> str:
    """List the parameters of this project, and examples; ``\\b`` keeps click from wrapping."""
    groups = {
        "Parameters for --params (key:value, separated by commas)": SCOPE_KEYS | GLOBAL_KEYS,
        "Parameters for --pipelines new_study": NEW_STUDY_KEYS,
        "Parameters for the reuse of results": REUSE_KEYS,
    }
    blocks = [
        [f"{title}:", *(f"  {key:<13} {meaning}" for key, meaning in keys.items())]
        for title, keys in groups.items()
    ]
    blocks.append(
        [
            "All other parameters are documented in conf/base/parameters/. Separate levels",
            "by dots: training.precision=32-true, resnet18_400.phases.main.epochs=3.",
        ]
    )
    blocks.append(["Examples:", *(f"  {example}" for example in _EXAMPLES)])
    return "\n\n".join("\b\n" + "\n".join(block) for block in blocks)


def _project_run() -> click.Command:
    command = copy.copy(kedro_run)
    command.epilog = _help()
    command.params = [copy.copy(parameter) for parameter in kedro_run.params]
    for parameter in command.params:
        if parameter.name == "params":
            parameter.callback = _params_callback
        elif parameter.name == "runner":
            parameter.default = DEFAULT_RUNNER
        elif parameter.name == "only_missing_outputs" and isinstance(parameter, click.Option):
            parameter.help = (
                "Run only the nodes whose results are missing or out of date (docs/reuse.md)."
            )
    command.callback = with_readable_errors(_checked(kedro_run.callback))  # type: ignore[arg-type]
    return command


run = _project_run()


@click.group(name="rsna19_kedro")
def cli() -> None:
    """Commands of this project."""


cli.add_command(run)
cli.add_command(rsna19)
