"""Nothing of an earlier prediction of new studies is taken for this run's."""

from typing import Any

from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from rsna19_kedro.files import empty_folder
from rsna19_kedro.hooks.run_facts import is_new_study
from rsna19_kedro.runners.persistence import remove_file


class FreshNewStudy:
    """Remove what an earlier run predicted: nothing of it may be taken for this run's."""

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Remove what this run makes anew, and what hangs on it."""
        if not is_new_study(run_params):
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
