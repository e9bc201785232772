"""Check that results of earlier runs come from the same raw data."""

import json
import logging
from pathlib import Path
from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from rsna19_kedro.context import current_scope
from rsna19_kedro.errors import InputError
from rsna19_kedro.files import atomic_path
from rsna19_kedro.hooks.run_facts import dataset_path, is_new_study
from rsna19_kedro.locks import LockedError
from rsna19_kedro.pipelines.ingestion.parameters import IngestionParameters
from rsna19_kedro.runners.persistence import remove_file
from rsna19_kedro.runners.run_locks import other_runs

logger = logging.getLogger(__name__)


def source_of(catalog: CatalogProtocol, project: Path, env: str | None) -> dict[str, Any]:
    """Raw data and environment of a session."""
    return {
        "raw_dir": dataset_path(catalog, "raw_download", project),
        "environment": env or "base",
        "phantoms": current_scope().phantoms,
    }


def source_note(catalog: CatalogProtocol, project: Path) -> Path:
    """File that names the source of the stored results."""
    return Path(project, dataset_path(catalog, "slice_index", project)).parent / "source.json"


def read_note(note: Path) -> dict[str, Any] | None:
    """Source of the stored results; ``None`` if there are none."""
    noted: dict[str, Any] | None = json.loads(note.read_text()) if note.is_file() else None
    return noted


class OneSource:
    """Prevent mixing results of different raw data or environments.

    All runs write to the same folders, so the source of the slice index is noted next to it. A
    run that would reuse results of another source is refused. Results of phantoms, which are
    cheap, are removed if a run on other data starts from the beginning.
    """

    IN_MAIN_PROCESS = True

    def __init__(self) -> None:
        self._note = Path()
        self._source: dict[str, Any] = {}

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Compare the noted source with this run.

        Raises:
            InputError: ``data/`` contains results of another source.
            DatasetError: The raw data of this run are missing.
        """
        if is_new_study(run_params):
            return  # It uses checkpoints of any data and changes no other result.
        project = Path(run_params["project_path"])
        self._note = source_note(catalog, project)
        self._source = source_of(catalog, project, run_params["env"])
        noted = read_note(self._note)
        if noted is None or noted == self._source:
            return
        from_the_start = any(node.name == "index_slices" for node in pipeline.nodes)
        if from_the_start and not run_params["only_missing_outputs"] and noted["phantoms"]:
            others = other_runs(project)
            if others:
                raise LockedError(
                    f"data/ holds results of the phantom data (environment {noted['environment']}),"
                    f" which would be removed, but another run uses them: {others[0]}. Wait for "
                    "it, or use another clone."
                )
            if not self._source["phantoms"]:  # Raises if there are no such data.
                IngestionParameters.model_validate(catalog.load("params:ingestion")).download(
                    catalog.load("raw_download")
                )
            logger.info(
                "Removing results of the phantom data (environment %s)", noted["environment"]
            )
            for name in pipelines["__default__"].all_outputs():
                remove_file(catalog, name)
            return
        raise InputError(
            f"data/ holds results of raw_dir {noted['raw_dir']} (environment "
            f"{noted['environment']}), but this run uses {self._source['raw_dir']} (environment "
            f"{self._source['environment']}). Empty data/02_intermediate to data/08_reporting, or "
            "use another clone."
        )

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Note the source after the slice index is made."""
        if node.name == "index_slices":
            with atomic_path(self._note) as part:
                part.write_text(json.dumps(self._source))
