"""Checks before a prediction of new studies, and the ``latest`` link to its results."""

from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from rsna19_kedro.dicom.sources import check_exists
from rsna19_kedro.errors import ParameterError
from rsna19_kedro.files import empty_folder
from rsna19_kedro.hooks.run_facts import dataset_path, is_new_study
from rsna19_kedro.locks import LockedError, lock_path, owner_of
from rsna19_kedro.prediction.output_folder import point_latest_to
from rsna19_kedro.runners.node_inputs import local_path
from rsna19_kedro.runners.persistence import remove_file
from rsna19_kedro.scope import NEW_STUDY_KEYS


def _refuse_running(catalog: CatalogProtocol, pipeline: Pipeline) -> None:
    """Refuse an output folder that another run is writing to.

    Raises:
        LockedError: Another run is; the message names it.
    """
    for name in pipeline.all_outputs():
        path = local_path(catalog[name])
        owner = None if path is None else owner_of(path)
        if owner is not None:
            raise LockedError(
                f"Another run is writing to this output folder: {owner}. Use a different folder "
                "with --params output=NAME, or wait for that run."
            )


def _refuse_unused(run_params: dict[str, Any]) -> None:
    """Refuse parameters that this run does not use, such as a source.

    Raises:
        ParameterError: One of them is given, but ``new_study`` does not run.
    """
    if "new_study" in (run_params["pipeline_names"] or ()):
        return
    for name in NEW_STUDY_KEYS:
        if name in run_params["runtime_params"]:
            raise ParameterError(
                f"{name} is only used by new_study: add --pipelines new_study, or leave it out."
            )


def _remove_empty(catalog: CatalogProtocol) -> None:
    """Remove the folders of a run without results, and the locks in them."""
    for name in pipelines["new_study"].all_outputs():
        path = local_path(catalog[name]) if name in catalog else None
        if path is None or path.is_file() or owner_of(path) is not None:
            continue
        with suppress(OSError):  # A folder that is not empty stays.
            if path.is_dir():
                path.rmdir()
            lock_path(path).unlink(missing_ok=True)
            for folder in path.parents:
                folder.rmdir()
                if folder.name == "new_study":
                    break


class NewStudyRun:
    """Refuse a prediction without models, empty its folders, and link ``latest`` to them."""

    _FILES: Final = ("new_slices", "new_volumes_folder", "new_predictions", "new_report")
    """One dataset per layer: a file in the folder of the run, or that folder itself."""

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Check source and models before reading DICOM; remove results to be replaced.

        Raises:
            ParameterError: No source is given, or the run does not use it.
            SourceError: The source does not exist.
            ModelError: None of the requested models is trained.
        """
        _refuse_unused(run_params)
        if not is_new_study(run_params):
            return
        makers = {node.name for node in pipeline.nodes}
        params = catalog.load("params:new_study")
        from_source = "prepare_source" in makers and not run_params["only_missing_outputs"]
        source = params.source_path() if from_source else None
        if "predict_new" in makers:
            from rsna19_kedro.prediction.detected import Predictors
            from rsna19_kedro.prediction.members import warn_of_small_model

            folder = catalog.load("models_folder")
            members = Predictors.find(folder, **params.predictors()).members
            warn_of_small_model(members, folder, params.models)
        if run_params["only_missing_outputs"]:
            return
        stale = pipelines["new_study"].from_nodes(*makers)
        _refuse_running(catalog, stale)
        for name in stale.all_outputs():
            remove_file(catalog, name)
        for maker, folder in (
            ("predict_new", "new_heat_folder"),
            ("report_new", "new_pages_folder"),
            ("write_dicom", "new_dicom_folder"),
        ):
            if maker in {node.name for node in stale.nodes}:
                empty_folder(catalog.load(folder))
        if source is not None:
            check_exists(source)  # Last: a name must not keep the results of another source.

    @hook_impl
    def after_pipeline_run(self, run_params: dict[str, Any], catalog: CatalogProtocol) -> None:
        """Point ``latest`` to the folders of this run."""
        self._point(run_params, catalog)

    @hook_impl
    def on_pipeline_error(self, run_params: dict[str, Any], catalog: CatalogProtocol) -> None:
        """Point ``latest`` to the folders of this run, or remove them if they are empty."""
        self._point(run_params, catalog)
        if is_new_study(run_params):
            _remove_empty(catalog)

    def _point(self, run_params: dict[str, Any], catalog: CatalogProtocol) -> None:
        if not is_new_study(run_params) or not catalog["new_predictions"].exists():
            return
        project = Path(run_params["project_path"])
        for name in self._FILES:
            path = project / dataset_path(catalog, name, project)
            point_latest_to(path if name.endswith("_folder") else path.parent)
