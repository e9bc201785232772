"""A table in Parquet as a Kedro dataset."""

from pathlib import Path
from typing import Any

import pandas as pd
from kedro_datasets.pandas import ParquetDataset

from rsna19_kedro.datasets.whole_file import WholeFileMixin
from rsna19_kedro.files import empty_folder


class TableDataset(WholeFileMixin, ParquetDataset):
    """``pandas.ParquetDataset`` that saves atomically.

    Args:
        clears: Name of the folder next to the file that holds finished parts of the table;
            emptied after the table is saved, so that an interruption never loses both.
        options: As for ``pandas.ParquetDataset``; ``versioned`` in a catalog included.

    Example:
        ```yaml
        "{model}.fold_{fold}.oof":
          type: rsna19_kedro.datasets.TableDataset
          filepath: data/07_model_output/{model}/fold_{fold}/oof.parquet
          clears: oof_parts
        ```

        ```python
        dataset = TableDataset(filepath="data/03_primary/folds.parquet")
        dataset.save(pd.DataFrame({"study_id": ["1.2.3"], "fold": [0]}))
        ```
    """

    def __init__(self, *, clears: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._clears = clears

    def save(self, data: pd.DataFrame) -> None:
        """Save, then empty the folder of parts."""
        super().save(data)
        if self._clears is not None:
            empty_folder(Path(self._filepath).parent / self._clears)
