"""What happens around a run: quiet logs, early refusals and the closing lines.

When nodes run in worker processes, hooks around nodes and datasets are called there, with the
data. Those of a class with ``IN_MAIN_PROCESS`` are called in the main process instead, without
data, because they count or keep notes across nodes. Hooks around the pipeline, the context and
the catalog are always called in the main process; levels of loggers are handed on to the workers.
"""

import json
import logging
import time
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from rsna19_kedro.context import current_scope
from rsna19_kedro.contracts import FOLDS
from rsna19_kedro.errors import InputError
from rsna19_kedro.files import empty_folder
from rsna19_kedro.runners.persistence import remove_file

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

    IN_MAIN_PROCESS = True

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
        scope = current_scope()
        for name in run_params.get("pipeline_names") or ():
            if name in ("stacking", "reporting") and not scope.complete:
                raise InputError(
                    f"The pipeline {name!r} needs all folds ({', '.join(map(str, FOLDS))}), but "
                    f"this run is narrowed to {', '.join(map(str, scope.folds))}. Run it without "
                    "'fold' in --params; --only-missing-outputs keeps the folds that are finished."
                )


class OneSource:
    """Keep results of different raw data or environments apart.

    All runs write to the same folders, and ``--only-missing-outputs`` asks only whether a
    file exists. So what the index was made from is noted beside it. A run that would go on
    from something else is refused; the results of phantoms, which are cheap, are removed when
    a run on other data starts from the beginning.
    """

    IN_MAIN_PROCESS = True

    def __init__(self) -> None:
        self._note = Path()
        self._source: dict[str, Any] = {}

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Compare the note with this run.

        Raises:
            InputError: ``data/`` holds results of something else.
        """
        if _is_new_study(run_params):
            return  # It takes checkpoints of whatever data, and touches no other result.
        self._note = Path(str(catalog["slice_index"]._filepath)).parent / "source.json"
        self._source = {
            "raw_dir": _shown(catalog["raw_download"]._filepath, run_params["project_path"]),
            "environment": run_params["env"] or "base",
            "phantoms": current_scope().phantoms,
        }
        found = json.loads(self._note.read_text()) if self._note.is_file() else self._source
        if found == self._source:
            return
        from_the_start = any(node.name == "index_slices" for node in pipeline.nodes)
        if from_the_start and not run_params["only_missing_outputs"] and found["phantoms"]:
            logger.info("Results of the phantoms of environment %s go", found["environment"])
            for name in pipelines["__default__"].all_outputs():
                remove_file(catalog, name)
            return
        raise InputError(
            f"data/ holds results of raw_dir {found['raw_dir']} (environment "
            f"{found['environment']}), but this run is for {self._source['raw_dir']} (environment "
            f"{self._source['environment']}). Empty data/02_intermediate to data/08_reporting, or "
            "use another clone."
        )

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Note the source once the index is made from it."""
        if node.name == "index_slices":
            self._note.write_text(json.dumps(self._source))


class FreshNewStudy:
    """Remove what an earlier run predicted: nothing of it may be taken for this run's."""

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Remove what this run makes anew, and what hangs on it."""
        if not _is_new_study(run_params):
            return
        stale = pipelines["new_study"].from_nodes(*(node.name for node in pipeline.nodes))
        for name in stale.all_outputs():
            remove_file(catalog, name)
        makers = {node.name for node in stale.nodes}
        for maker, folder in (
            ("predict_new", "new_heat_folder"),
            ("write_dicom", "new_dicom_folder"),
        ):
            if maker in makers:
                empty_folder(catalog.load(folder))


class ResultSummary:
    """Say at the end where to look."""

    _RESULTS = (
        ("ingestion_report", "what was read and skipped"),
        ("submission_average", "submission, plain average"),
        ("submission_stacked", "submission, second level"),
        ("report", "the report"),
        ("model_card", "the model card"),
        ("new_predictions_csv", "predictions"),
        ("new_report", "the report"),
    )

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Log the path of each result that this run wrote."""
        self._log("Results", pipeline, catalog)

    @hook_impl
    def on_pipeline_error(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Of several new studies some may have results although the run ends with an error."""
        if _is_new_study(run_params):
            self._log("Results of what could be predicted", pipeline, catalog)

    def _log(self, title: str, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        written = pipeline.all_outputs()
        lines = [
            f"  {text}: {_shown(catalog[name]._filepath, Path.cwd())}"
            for name, text in self._RESULTS
            if name in written and name in catalog and catalog[name].exists()
        ]
        if lines:
            logger.info("%s:\n%s", title, "\n".join(lines))


def _is_new_study(run_params: dict[str, Any]) -> bool:
    return set(run_params.get("pipeline_names") or ()) == {"new_study"}


def _shown(path: Any, project: str | Path) -> str:
    """A path, relative to the project where it lies inside."""
    absolute, root = Path(str(path)).resolve(), Path(project).resolve()
    return (absolute.relative_to(root) if absolute.is_relative_to(root) else absolute).as_posix()
