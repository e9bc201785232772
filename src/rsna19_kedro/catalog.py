"""The catalog of this project: an unknown name is an error that suggests a known one."""

from contextlib import suppress
from typing import Any

from kedro.framework.context import CatalogCommandsMixin
from kedro.framework.project import pipelines
from kedro.io import AbstractDataset, DataCatalog, DatasetNotFoundError

from rsna19_kedro.errors import did_you_mean


class SuggestingCatalog(DataCatalog, CatalogCommandsMixin):
    """Kedro's catalog with suggestions for misspelt names, for notebooks and ``kedro ipython``."""

    def __getitem__(self, ds_name: str) -> AbstractDataset[Any, Any]:
        """Return a dataset.

        Raises:
            DatasetNotFoundError: The catalog has no dataset of this name.
        """
        try:
            return super().__getitem__(ds_name)
        except DatasetNotFoundError as error:
            raise _suggesting(error, ds_name) from None

    def load(self, ds_name: str, version: str | None = None) -> Any:
        """Load a dataset.

        Raises:
            DatasetNotFoundError: The catalog has no dataset of this name.
        """
        try:
            return super().load(ds_name, version)
        except DatasetNotFoundError as error:
            raise _suggesting(error, ds_name) from None


def _suggesting(error: DatasetNotFoundError, name: str) -> DatasetNotFoundError:
    known = set[str]()
    with suppress(Exception):  # Errors of the pipelines must not replace this one.
        known = {dataset for pipeline in pipelines.values() for dataset in pipeline.datasets()}
    return DatasetNotFoundError(f"{error}.{did_you_mean(name, known)}")
