"""Atomic saves for the datasets of kedro-datasets.

kedro-datasets write to the final path, so an interrupted save leaves a partial file that counts
as existing.
"""

from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import Version

from rsna19_kedro.files import atomic_path


class WholeFileMixin:
    """Save to a temporary file, then rename it; put it before a versioned dataset class.

    Example:
        ```yaml
        labels:
          type: rsna19_kedro.datasets.TableDataset
          filepath: data/02_intermediate/labels.parquet
          versioned: true
        ```

        ```python
        class YamlFileDataset(WholeFileMixin, kedro_datasets.yaml.YAMLDataset): ...
        ```
    """

    _filepath: PurePosixPath
    _version: Version | None
    _protocol: str

    def save(self, data: Any) -> None:
        """Save; if that fails, an existing file stays unchanged."""
        if self._protocol != "file":  # In object stores, uploads appear only when complete.
            super().save(data)  # type: ignore[misc]
            return
        # Kedro's private attributes, because its classes have no other way to save to another
        # path: during the save, the dataset is the temporary file, without versions.
        final: PurePosixPath = self._get_save_path()  # type: ignore[attr-defined]
        before = self._filepath, self._version
        with atomic_path(Path(final)) as part:
            self._filepath, self._version = PurePosixPath(part), None
            try:
                super().save(data)  # type: ignore[misc]
            finally:
                self._filepath, self._version = before
