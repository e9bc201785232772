"""Where to look at the end of a run."""

import logging
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from rsna19_kedro.hooks.run_facts import dataset_path, is_new_study

logger = logging.getLogger(__name__)


class ResultSummary:
    """Say at the end where to look."""

    _RESULTS = (
        ("ingestion_report", "what was read and skipped"),
        ("submission_average", "submission, plain average"),
        ("submission_stacked", "submission, second level"),
        ("report", "the report"),
        ("model_card", "the model card"),
        ("new_predictions_csv", "predictions"),
        ("new_predictions_json", "predictions for programs"),
        ("new_sources", "which number is which file"),
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
        if is_new_study(run_params):
            self._log("Results of what could be predicted", pipeline, catalog)

    def _log(self, title: str, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        written = pipeline.all_outputs()
        lines = [
            f"  {text}: {dataset_path(catalog, name, Path.cwd())}"
            for name, text in self._RESULTS
            if name in written and name in catalog and catalog[name].exists()
        ]
        if lines:
            logger.info("%s:\n%s", title, "\n".join(lines))
