"""Files are saved atomically; unfinished work is removed only after the save."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from kedro.io import DataCatalog, DatasetError, Version

from rsna19_kedro.datasets import (
    CheckpointDataset,
    CsvTableDataset,
    JsonFileDataset,
    TableDataset,
    TextFileDataset,
)
from rsna19_kedro.networks.build import build_network
from rsna19_kedro.networks.checkpoint import Checkpoint
from rsna19_kedro.networks.zoo import ZOO

TABLE = pd.DataFrame({"a": [1, 2], "b": [0.5, 0.25]})


@pytest.mark.parametrize(
    ("dataset", "name", "content"),
    [
        (TableDataset, "t.parquet", TABLE),
        (CsvTableDataset, "t.csv", TABLE),
        (JsonFileDataset, "t.json", {"a": [1, 2]}),
        (TextFileDataset, "t.html", "<p>ä</p>"),
    ],
)
def test_failed_save_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset, name: str, content
) -> None:
    options = {"save_args": {"index": False}} if dataset is CsvTableDataset else {}
    entry = dataset(filepath=str(tmp_path / "new" / name), **options)
    assert not entry.exists()
    entry.save(content)
    assert entry.exists()
    before = (tmp_path / "new" / name).read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    monkeypatch.setattr(json, "dump", full)
    wrong = {"t.html": 5}.get(name, content)  # A text file cannot store a number.
    with pytest.raises(DatasetError):
        entry.save(wrong)
    assert (tmp_path / "new" / name).read_bytes() == before
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]
    monkeypatch.undo()
    loaded = entry.load()
    if isinstance(content, pd.DataFrame):
        pd.testing.assert_frame_equal(loaded, content)
    else:
        assert loaded == content


def test_parts_are_removed_only_after_the_table_is_saved(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "parts" / "deep").mkdir(parents=True)
    (tmp_path / "parts" / "deep" / "a").write_text("x")
    entry = TableDataset(filepath=str(tmp_path / "t.parquet"), clears="parts")
    with monkeypatch.context() as patch:
        patch.setattr(pd.DataFrame, "to_parquet", lambda *_, **__: 1 / 0)
        with pytest.raises(DatasetError):
            entry.save(TABLE)
    assert (tmp_path / "parts" / "deep" / "a").is_file()
    entry.save(TABLE)
    assert not list((tmp_path / "parts").iterdir())


def test_resume_state_is_removed_only_after_the_checkpoint_is_saved(
    tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "resume").mkdir()
    (tmp_path / "resume" / "phase_0.ckpt").write_text("x")
    checkpoint = Checkpoint(
        ZOO["resnet18_400"],
        build_network(ZOO["resnet18_400"]).state_dict(),
        torch.from_numpy(np.linspace(-1, 1, 1401, dtype=np.float32)),
        crop_px=64,
        resize_px=64,
        metadata={},
    )
    entry = CheckpointDataset(filepath=str(tmp_path / "c.safetensors"), clears="resume")
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "write", lambda *_: 1 / 0)
        with pytest.raises(DatasetError):
            entry.save(checkpoint)
    assert list((tmp_path / "resume").iterdir())
    entry.save(checkpoint)
    assert not list((tmp_path / "resume").iterdir())
    assert entry.load().spec == checkpoint.spec


@pytest.mark.parametrize(
    ("dataset", "name", "first", "second"),
    [
        ("TableDataset", "t.parquet", TABLE, TABLE + 1),
        ("CsvTableDataset", "t.csv", TABLE, TABLE + 1),
        ("JsonFileDataset", "t.json", {"a": 1}, {"a": 2}),
        ("TextFileDataset", "t.html", "<p>one</p>", "<p>two</p>"),
    ],
)
def test_versioned_entry_saves_loads_and_lists_versions(
    tmp_path: Path, dataset: str, name: str, first, second
) -> None:
    config = {
        "entry": {
            "type": f"rsna19_kedro.datasets.{dataset}",
            "filepath": str(tmp_path / name),
            "versioned": True,
        }
    }
    if dataset == "CsvTableDataset":
        config["entry"]["save_args"] = {"index": False}
    times = ["2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z"]
    assert not DataCatalog.from_config(config)["entry"].exists()
    for time, content in zip(times, (first, second), strict=True):
        DataCatalog.from_config(config, save_version=time).save("entry", content)

    entry = DataCatalog.from_config(config)["entry"]
    assert entry.list_versions(full_path=False) == times[::-1]
    assert sorted(path.name for path in (tmp_path / name).rglob("*")) == [*times, name, name]
    oldest = DataCatalog.from_config(config, load_versions={"entry": times[0]})["entry"]
    for loaded, expected in ((oldest.load(), first), (entry.load(), second)):
        if isinstance(expected, pd.DataFrame):
            pd.testing.assert_frame_equal(loaded, expected)
        else:
            assert loaded == expected
    with pytest.raises(DatasetError, match="must not exist if versioning is enabled"):
        DataCatalog.from_config(config, save_version=times[1]).save("entry", first)


def test_versioned_save_that_fails_leaves_no_version(tmp_path: Path) -> None:
    entry = TextFileDataset(filepath=str(tmp_path / "t.html"), version=Version(None, None))
    with pytest.raises(DatasetError):
        entry.save(5)  # type: ignore[arg-type]
    assert not entry.exists()
    entry.save("whole")
    assert entry.load() == "whole"
    assert len(entry.list_versions()) == 1


def test_versioned_save_over_an_unversioned_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.html").write_text("from before")
    entry = TextFileDataset(filepath=str(tmp_path / "t.html"), version=Version(None, None))
    with pytest.raises(DatasetError, match="versioning was enabled on a dataset already saved"):
        entry.save("whole")
    assert (tmp_path / "t.html").read_text() == "from before"
