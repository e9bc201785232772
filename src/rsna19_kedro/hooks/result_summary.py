"""Print the paths of the main results at the end of a run."""

import logging
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from rich import get_console

from rsna19_kedro.console import FILE_LOGGER
from rsna19_kedro.hooks.run_facts import dataset_path, is_new_study

logger = logging.getLogger(__name__)


class ResultSummary:
    """Print the paths of the main results, the report last, one per line."""

    _RESULTS = (
        ("ingestion_report", "files read and skipped"),
        ("submission_average", "submission, plain average"),
        ("submission_stacked", "submission, second level"),
        ("model_card", "model card"),
        ("report", "report"),
        ("new_predictions_csv", "predictions"),
        ("new_predictions_json", "predictions as JSON"),
        ("new_sources", "source files of the studies"),
        ("new_report", "report"),
    )

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        """Print the path of each result that this run wrote."""
        self._print("Results", pipeline, catalog)

    @hook_impl
    def on_pipeline_error(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Print the results of new studies: some may have any although the run failed."""
        if is_new_study(run_params):
            self._print("Results of the studies that could be predicted", pipeline, catalog)

    def _print(self, title: str, pipeline: Pipeline, catalog: CatalogProtocol) -> None:
        written = pipeline.all_outputs()
        lines = [
            f"  {text}: {dataset_path(catalog, name, Path.cwd())}"
            for name, text in self._RESULTS
            if name in written and name in catalog and catalog[name].exists()
        ]
        if lines and logger.isEnabledFor(logging.INFO):
            # The log would wrap long paths.
            text = "\n".join([f"{title}:", *lines])
            get_console().print(text, soft_wrap=True, highlight=False, markup=False)
            FILE_LOGGER.info("%s", text)
