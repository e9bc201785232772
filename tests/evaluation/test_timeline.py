"""The timeline of a run: one lane per device, and more if nodes share it."""

from pathlib import Path

import numpy as np
import pandas as pd

from rsna19_kedro.datasets.png import SIGNATURE
from rsna19_kedro.datasets.timeline import TimelineDataset
from rsna19_kedro.evaluation.timeline import _lanes


def _schedule() -> pd.DataFrame:
    """Two nodes in parallel on GPU 0, one after them, one on the CPU, one never started."""
    rows = [
        ("training", "done", 0, 4, "gpu 0"),
        ("training", "done", 1, 3, "gpu 0"),
        ("prediction", "failed", 4, 5, "gpu 0"),
        ("other", "done", 0, 5, "cpu"),
        ("other", "killed", 5, 6, ""),
    ]
    table = pd.DataFrame(rows, columns=["kind", "outcome", "start", "end", "device"])
    table["seconds"] = (table["end"] - table["start"]).astype(float)
    table["start"] = pd.to_datetime(table["start"], unit="s", utc=True)
    return table.assign(host="here")


def test_nodes_take_the_first_free_lane_of_their_device() -> None:
    table = _schedule()
    begin = np.array([0.0, 1, 4, 0, 5])
    labels, lanes = _lanes(table, begin, begin + table["seconds"].to_numpy())
    assert labels == ["not started", "gpu 0", "gpu 0 (2)", "cpu"]
    assert lanes.tolist() == [1, 2, 1, 3, 0]


def test_a_table_is_saved_as_a_figure(tmp_path: Path) -> None:
    for name, table in (("some", _schedule()), ("none", _schedule().iloc[:0])):
        dataset = TimelineDataset(filepath=str(tmp_path / f"{name}.png"))
        dataset.save(table)
        assert dataset.load().startswith(SIGNATURE)
