"""What happens around a run: quiet logs, early refusals and the closing lines."""

import logging
import time
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from rsna19_kedro.contracts import FOLDS
from rsna19_kedro.errors import InputError

logger = logging.getLogger(__name__)

_NOISY = ("pydicom", "timm", "matplotlib", "PIL")


class QuietLogs:
    """Keep libraries that log per file or per training below the level of the run's log."""

    @hook_impl
    def after_context_created(self) -> None:
        """Raise the levels once the project's logging has been set up."""
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.ERROR)


class NodeProgress:
    """One line a finished node: how many are done, its name, its time."""

    def __init__(self) -> None:
        self._total = 0
        self._done = 0
        self._starts: dict[str, float] = {}

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Start counting."""
        self._total, self._done = len(pipeline.nodes), 0

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Note the start."""
        self._starts[node.name] = time.monotonic()

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Log the line."""
        self._done += 1
        seconds = time.monotonic() - self._starts.pop(node.name)
        logger.info("%d/%d %s, %.1f s", self._done, self._total, node.name, seconds)


class NeedEveryFold:
    """Refuse the second level and the report in a run narrowed to some folds."""

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Check the names that were asked for against the scope.

        Raises:
            InputError: ``stacking`` or ``reporting`` was asked for with fewer than all folds.
        """
        from rsna19_kedro.context import current_scope

        scope = current_scope()
        for name in run_params.get("pipeline_names") or ():
            if name in ("stacking", "reporting") and not scope.complete:
                raise InputError(
                    f"The pipeline {name!r} needs all folds ({', '.join(map(str, FOLDS))}), but "
                    f"this run is narrowed to {', '.join(map(str, scope.folds))}. Run it without "
                    "'fold' in --params; --only-missing-outputs keeps the folds that are finished."
                )


class ResultSummary:
    """Say at the end where to look."""

    _RESULTS = (
        ("ingestion_report", "what was read and skipped"),
        ("submission_average", "submission, plain average"),
        ("submission_stacked", "submission, second level"),
        ("report", "the report"),
    )

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Log the path of each result that this run wrote."""
        written = pipeline.all_outputs()
        lines = [
            f"  {text}: {_shown(catalog[name]._filepath)}"
            for name, text in self._RESULTS
            if name in written and name in catalog and catalog[name].exists()
        ]
        if lines:
            logger.info("Results:\n%s", "\n".join(lines))


def _shown(path: Any) -> str:
    absolute = Path(str(path))
    try:
        return absolute.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return absolute.as_posix()
