"""The records of all stored results as a Kedro dataset."""

from typing import Any

import pandas as pd

from rsna19_kedro.datasets.local import LocalDataset
from rsna19_kedro.provenance.fingerprint import digest_text
from rsna19_kedro.provenance.history import all_records, origins


class OriginsDataset(LocalDataset[pd.DataFrame]):
    """Time and origin of each stored result; read-only.

    Example:
        ```yaml
        origins:
          type: rsna19_kedro.datasets.OriginsDataset
          filepath: data
        ```

        ```python
        OriginsDataset(filepath="data").load()[["dataset", "made", "machine"]]
        ```
    """

    def load(self) -> pd.DataFrame:
        """Return one row per result; see ``provenance.history.origins``."""
        return origins(self._filepath)

    def save(self, data: pd.DataFrame) -> None:
        """Refuse to save: records are written next to the results.

        Raises:
            TypeError: Always.
        """
        raise TypeError("Records are written next to the results that they describe.")

    def identity(self) -> str:
        """Digest of the results that were accepted although out of date.

        The time of a result does not count. Documents made from this dataset do not count either,
        because they would depend on themselves.
        """
        accepted: list[Any] = [
            (record.dataset, *record.accepted)
            for record in all_records(self._filepath)
            if record.accepted and "origins" not in record.identity.inputs
        ]
        return digest_text(text for texts in sorted(accepted) for text in texts)
