"""First line of a run, and the file that holds a copy of its log."""

import logging
from collections.abc import Generator, Iterable
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
from rsna19_kedro.provenance.plan import FOLD
from rsna19_kedro.runners.machine import visible_gpus
from rsna19_kedro.version import __version__

logger = logging.getLogger(__name__)

LOGS: Final = Path("data", "08_reporting", "logs")
_SETTINGS: Final = ("params:training", "params:prediction")


class RunLogFile:
    """Log what runs, and write the log of the run to a file."""

    IN_MAIN_PROCESS = True

    def __init__(self) -> None:
        self._file: LogFile | None = None
        self._hides_errors = False

    @hook_impl(wrapper=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> Generator[None, Any, Any]:
        """Log what runs, before all other hooks."""
        self._detach()
        shows_phi = run_params["runtime_params"].get("include_phi", False)
        predicts = "new_study" in (run_params["pipeline_names"] or ())
        self._hides_errors = predicts and not shows_phi
        folder = Path(run_params["project_path"], LOGS)
        self._file = LogFile(folder, hides_errors=self._hides_errors)
        self._file.attach()
        try:
            logger.info("%s", _first_line(run_params, pipeline, catalog))
            return (yield)
        except BaseException:  # Kedro calls no other hook.
            self._detach()
            raise

    @hook_impl
    def after_node_run(self) -> None:
        """Start the file: the run has a result."""
        if self._file is not None:
            self._file.open()

    @hook_impl
    def node_unchanged(self) -> None:
        """Start the file; called by ``runners.GPURunner``."""
        self.after_node_run()

    @hook_impl(trylast=True)
    def on_pipeline_error(self, error: Exception) -> None:
        """Write the error, which the command prints, and close the file."""
        message, node = message_for_user(error, {}), node_of(error)
        where = f" in {node}" if node else ""
        if self._hides_errors:
            FILE_LOGGER.warning(
                "%s%s. The message is only on the screen, because it may name a patient.",
                *(type(error).__name__, where),
            )
        else:
            trace = None if message else error
            FILE_LOGGER.error("Error%s: %s", where, message or error, exc_info=trace)
        self._detach()

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Close the file."""
        self._detach()

    @hook_impl
    def run_interrupted(self) -> None:
        """Close the file after Ctrl-C or SIGTERM; called by ``runners.GPURunner``."""
        self._detach()

    def _detach(self) -> None:
        if self._file is not None:
            self._file.detach()
            self._file = None


def _first_line(run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol) -> str:
    """Version, environment, nodes, models and folds, raw data, device and precision."""
    parts = [
        f"rsna19_kedro {__version__}",
        f"environment {run_params['env'] or 'base'}",
        counted(len(pipeline.nodes), "node"),
    ]
    matches = [match for node in pipeline.nodes if (match := FOLD.match(node.name))]
    models, folds = ({match[part] for match in matches} for part in ("model", "fold"))
    if models:
        parts.append(f"{counted(len(models), 'model')} x {counted(len(folds), 'fold')}")
    if not is_new_study(run_params):  # The path of new studies may name a patient.
        source = source_of(catalog, Path(run_params["project_path"]), None)
        parts.append(f"raw data {source['raw_dir']}{' (phantoms)' * source['phantoms']}")
    for name in _SETTINGS:
        if name in pipeline.inputs():
            names = [f"params:{model}" for model in sorted(models)]
            recipes = [catalog.load(params) for params in names if params in catalog]
            parts += _device(catalog.load(name), recipes)
            break
    return ", ".join(parts)


def _device(settings: Any, recipes: Iterable[Any]) -> tuple[str, str]:
    """Device and precision of the networks."""
    gpus = 0 if settings.accelerator == "cpu" else visible_gpus()
    device = counted(gpus, "GPU") if gpus else f"CPU ({counted(available_cores(), 'core')})"
    precisions = {settings.precision}
    if settings.precision == "auto":
        default = "auto" if gpus else "32-true"
        precisions = {recipe.precision or default for recipe in recipes}
    return device, f"precision {', '.join(sorted(precisions))}"
