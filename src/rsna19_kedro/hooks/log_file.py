"""First line of a run, and the file that holds a copy of its log."""

import logging
import re
from pathlib import Path
from typing import Any, Final

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from rsna19_kedro.cli_errors import message_for_user
from rsna19_kedro.console import FILE_LOGGER, LogFile
from rsna19_kedro.errors import counted, node_of
from rsna19_kedro.hooks.earlier_results import source_of
from rsna19_kedro.hooks.run_facts import is_new_study
from rsna19_kedro.parallel import available_cores
from rsna19_kedro.runners.machine import visible_gpus
from rsna19_kedro.version import __version__

logger = logging.getLogger(__name__)

LOGS: Final = Path("data", "08_reporting", "logs")
_SETTINGS: Final = ("params:training", "params:prediction")
_FOLD: Final = re.compile(r"(.+)\.fold_(\d)\.")


class RunLog:
    """Log what runs, and write the log of the run to a file."""

    IN_MAIN_PROCESS = True

    def __init__(self) -> None:
        self._file = LogFile(LOGS)
        self._hides_tracebacks = False

    @hook_impl(tryfirst=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Log version, environment, extent, data and device of the run."""
        self._file.detach()
        self._file = LogFile(Path(run_params["project_path"], LOGS))
        self._file.attach()
        shows_phi = run_params["runtime_params"].get("include_phi", False)
        self._hides_tracebacks = is_new_study(run_params) and not shows_phi
        logger.info("%s", _first_line(run_params, pipeline, catalog))

    @hook_impl
    def after_node_run(self) -> None:
        """Start the file: the run has a result."""
        self._file.open()

    @hook_impl
    def node_unchanged(self) -> None:
        """Start the file; called by ``runners.GPURunner``."""
        self._file.open()

    @hook_impl(trylast=True)
    def on_pipeline_error(self, error: Exception) -> None:
        """Write the error, which the command prints, and close the file.

        The traceback of an unexpected error may name a patient, so that of new studies is left out.
        """
        message, node = message_for_user(error, {}), node_of(error)
        trace = None if message or self._hides_tracebacks else error
        if not message:
            message = type(error).__name__ if self._hides_tracebacks else str(error)
        FILE_LOGGER.error("Error%s: %s", f" in {node}" if node else "", message, exc_info=trace)
        self._file.detach()

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Close the file."""
        self._file.detach()


def _first_line(run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> str:
    """Version, environment, nodes, models and folds, raw data, device and precision."""
    parts = [
        f"rsna19_kedro {__version__}",
        f"environment {run_params['env'] or 'base'}",
        counted(len(pipeline.nodes), "node"),
    ]
    matches = [match for node in pipeline.nodes if (match := _FOLD.match(node.name))]
    if matches:
        models, folds = ({match[part] for match in matches} for part in (1, 2))
        parts.append(f"{counted(len(models), 'model')} x {counted(len(folds), 'fold')}")
    if not is_new_study(run_params):  # The path of new studies may name a patient.
        source = source_of(catalog, Path(run_params["project_path"]), None)
        parts.append(f"raw data {source['raw_dir']}{' (phantoms)' * source['phantoms']}")
    for name in _SETTINGS:
        if name in pipeline.inputs():
            parts += _device(catalog.load(name))
            break
    return ", ".join(parts)


def _device(settings: Any) -> tuple[str, str]:
    """Device and precision of the networks."""
    gpus = 0 if settings.accelerator == "cpu" else visible_gpus()
    device = counted(gpus, "GPU") if gpus else f"CPU ({counted(available_cores(), 'core')})"
    precision = settings.precision
    return device, f"precision {'32-true' if precision == 'auto' and not gpus else precision}"
