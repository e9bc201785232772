from pathlib import Path

import pandas as pd
import pytest
from kedro.io import DatasetError

from rsna19_kedro.datasets import StoredTableDataset
from rsna19_kedro.errors import DamagedFileError

TABLE = pd.DataFrame({"a": [1, 2], "b": [0.5, 0.25], "c": ["x", "y"]})


def stored(folder: Path) -> StoredTableDataset:
    dataset = StoredTableDataset(filepath=str(folder / "t.parquet"), clears="parts")
    table = TABLE.copy()
    table.attrs = {"made_from": {"weights": "1f"}}
    dataset.save(table)
    return dataset


def test_columns_are_read_on_access_and_attributes_without_rows(tmp_path, monkeypatch):
    table = stored(tmp_path).load()
    pd.testing.assert_frame_equal(table.read(), TABLE)
    asked, read = [], pd.read_parquet
    monkeypatch.setattr(
        pd,
        "read_parquet",
        lambda path, columns: asked.append(columns) or read(path, columns=columns),
    )
    assert table.attrs == {"made_from": {"weights": "1f"}}
    assert "b" in table
    assert "d" not in table
    assert asked == []
    pd.testing.assert_frame_equal(table[["c", "a"]], TABLE[["c", "a"]])
    assert asked == [["c", "a"]]


def test_missing_and_damaged_files_are_named(tmp_path):
    dataset = stored(tmp_path)
    table, path = dataset.load(), tmp_path / "t.parquet"
    path.write_bytes(path.read_bytes()[:40] + path.read_bytes()[80:])
    with pytest.raises(DamagedFileError, match=r"t\.parquet cannot be read"):
        table.read()
    path.unlink()
    with pytest.raises(DatasetError):
        dataset.load()
