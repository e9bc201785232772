"""kedro-datasets' files, written whole or not at all.

kedro-datasets write under the final name, so a kill leaves half a file that counts as existing
and that ``--only-missing-outputs`` takes for finished.
"""

from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
from kedro_datasets.json import JSONDataset
from kedro_datasets.pandas import CSVDataset, ParquetDataset
from kedro_datasets.text import TextDataset

from rsna19_kedro.files import atomic_path, empty_folder


class _WholeFile:
    """In front of a dataset with ``_filepath`` and ``_protocol``: saves beside, then renames."""

    _filepath: PurePosixPath
    _protocol: str

    def save(self, data: Any) -> None:
        """Save; on an error, what stood under the name stays."""
        if self._protocol != "file":  # Object stores show an upload only once it has ended.
            super().save(data)  # type: ignore[misc]
            return
        final = self._filepath
        with atomic_path(Path(final)) as part:
            self._filepath = PurePosixPath(part)
            try:
                super().save(data)  # type: ignore[misc]
            finally:
                self._filepath = final


class TableDataset(_WholeFile, ParquetDataset):
    """A Parquet file.

    Args:
        clears: Name of a folder beside the file that holds the table's finished parts; emptied
            once the whole is saved, so that a kill at any moment loses neither.
        options: As for ``pandas.ParquetDataset``.
    """

    def __init__(self, *, clears: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._clears = clears

    def save(self, data: pd.DataFrame) -> None:
        """Save, then empty the folder of parts."""
        super().save(data)
        if self._clears is not None:
            empty_folder(Path(self._filepath).parent / self._clears)


class CsvTableDataset(_WholeFile, CSVDataset):
    """A CSV file."""


class JsonFileDataset(_WholeFile, JSONDataset):
    """A JSON file."""


class TextFileDataset(_WholeFile, TextDataset):
    """A text file, HTML too."""
