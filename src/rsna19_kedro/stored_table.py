"""A table in a Parquet file whose columns are read when they are needed."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from rsna19_kedro.commands import kedro_run
from rsna19_kedro.errors import DamagedFileError


@dataclass(frozen=True)
class StoredTable:
    """A table in a Parquet file; ``read`` returns it as a ``pandas.DataFrame``.

    Like a DataFrame it has ``attrs``, ``"column" in table`` and ``table[["column"]]``, which
    reads only these columns.

    Attributes:
        path: The file.
        columns: Names of the columns.
        attrs: Attributes of the DataFrame.
    """

    path: Path
    columns: tuple[str, ...]
    attrs: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Read the names of the columns.

        Raises:
            FileNotFoundError: The file is missing.
            pyarrow.ArrowException: It is no Parquet file.
        """
        schema = pq.read_schema(path)
        attributes = (schema.metadata or {}).get(b"PANDAS_ATTRS", b"{}")
        return cls(path, tuple(schema.names), json.loads(attributes))

    def __contains__(self, column: str) -> bool:
        return column in self.columns

    def __getitem__(self, columns: list[str]) -> pd.DataFrame:
        return self.read(columns)

    def read(self, columns: list[str] | None = None) -> pd.DataFrame:
        """Read some columns, or all.

        Raises:
            DamagedFileError: The file cannot be read.
        """
        try:
            return pd.read_parquet(self.path, columns=columns)
        except (OSError, pa.ArrowException) as error:
            raise DamagedFileError(
                f"{self.path} cannot be read ({error}). Delete it, then update all results: "
                f"{kedro_run('--only-missing-outputs')}"
            ) from error
