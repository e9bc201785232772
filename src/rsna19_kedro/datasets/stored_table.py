"""A table in Parquet that is read when it is needed, as a Kedro dataset."""

from pathlib import Path
from typing import Any

from rsna19_kedro.datasets.table import TableDataset
from rsna19_kedro.stored_table import StoredTable


class StoredTableDataset(TableDataset):
    """``TableDataset`` that loads a ``StoredTable``, so that a node can read many one by one.

    Example:
        ```yaml
        "{model}.fold_{fold}.oof":
          type: rsna19_kedro.datasets.StoredTableDataset
          filepath: data/07_model_output/{model}/fold_{fold}/oof.parquet
          clears: oof_parts
        ```

        ```python
        dataset = StoredTableDataset(filepath="data/07_model_output/small/fold_0/oof.parquet")
        dataset.save(pd.DataFrame({"study_id": ["1.2.3"], "tta": ["normal"]}))
        table = dataset.load().read()
        ```
    """

    def load(self) -> Any:
        """Return the table; only the names of its columns are read."""
        return StoredTable.open(Path(self._get_load_path()))
