"""The records of all stored results as a Kedro dataset."""

from typing import Any

import pandas as pd

from rsna19_kedro.datasets.local import LocalDataset
from rsna19_kedro.provenance.fingerprint import digest_text
from rsna19_kedro.provenance.history import all_records, origins


class OriginsDataset(LocalDataset[pd.DataFrame]):
    """When and from what each stored result was made; read only.

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
        """Refuse: records are written beside the results.

        Raises:
            TypeError: Always.
        """
        raise TypeError("Records are written beside the results that they describe.")

    def identity(self) -> str:
        """Digest of what was accepted although it was out of date, and of nothing else.

        When something was made puts nothing out of date. Documents made from this dataset do not
        count, so that they do not depend on themselves.
        """
        accepted: list[Any] = [
            (record.dataset, *record.accepted)
            for record in all_records(self._filepath)
            if record.accepted and "origins" not in record.identity.inputs
        ]
        return digest_text(text for texts in sorted(accepted) for text in texts)
