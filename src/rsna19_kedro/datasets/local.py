"""Base class of datasets that are one file or folder on the local disk."""

from abc import ABC
from pathlib import Path
from typing import Any, TypeVar

from kedro.io import AbstractDataset

T = TypeVar("T")


class LocalDataset(AbstractDataset[T, T], ABC):
    """A dataset that is one file or one folder on the local disk.

    Subclasses define ``load`` and ``save``; they are not versioned.

    Args:
        filepath: The file or folder; paths in a catalog are relative to the project.
        metadata: Read by plugins: ``kedro-viz`` takes layer and preview from it.

    Example:
        ```yaml
        volumes:
          type: rsna19_kedro.datasets.VolumeStoreDataset
          filepath: data/03_primary/volumes
          metadata: {kedro-viz: {layer: primary, preview: false}}
        ```

        ```python
        dataset = VolumeStoreDataset(filepath="data/03_primary/volumes")
        ```
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}

    def _exists(self) -> bool:
        return self._filepath.exists()
