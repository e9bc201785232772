import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from rsna19_kedro.contracts import CLASSES, PREDICTIONS
from rsna19_kedro.evaluation.worst_slices import (
    FALSE_ALARM,
    HIGHEST_LOSS,
    MISSED,
    error_bands,
    find_worst_slices,
    picture_slice,
    picture_slices,
    worst_studies,
)

WINDOWS = {"brain": (40.0, 80.0), "bone": (600.0, 2800.0)}


def _oof(rows: list[tuple[str, int, int, float]]) -> pd.DataFrame:
    """Rows of study, slice, label and probability of any."""
    table = pd.DataFrame(rows, columns=["study_id", "slice_num", "any", "pred_any"])
    table["sop_instance_uid"] = table["study_id"] + table["slice_num"].astype(str)
    for name in CLASSES[:-1]:
        table[name] = 0
        table[f"pred_{name}"] = 0.0
    return table


OOF = _oof(
    [
        ("a", 0, 1, 0.01),
        ("a", 1, 1, 0.02),
        ("a", 2, 0, 0.6),
        ("b", 0, 1, 0.3),
        ("b", 1, 0, 0.97),
        ("c", 0, 0, 0.1),
        ("c", 1, 1, 0.8),
    ]
)


def _picked(group: str) -> list[tuple[str, int]]:
    worst = find_worst_slices(OOF, per_group=2)
    rows = worst[worst["group"] == group]
    return list(zip(rows["study_id"], rows["slice_num"], strict=True))


def test_misses_and_false_alarms_are_ranked_with_one_slice_per_study() -> None:
    assert _picked(MISSED) == [("a", 0), ("b", 0)]
    assert _picked(FALSE_ALARM) == [("b", 1), ("a", 2)]


def test_highest_losses_exclude_the_other_groups() -> None:
    assert _picked(HIGHEST_LOSS) == [("a", 1), ("c", 1)]


def test_loss_of_a_worst_slice_is_weighted() -> None:
    worst = find_worst_slices(OOF, per_group=1)
    assert worst.loc[0, "loss"] == pytest.approx(-2 / 7 * np.log(0.01), rel=1e-5)


def test_no_errors_leave_empty_groups() -> None:
    worst = find_worst_slices(OOF[OOF["study_id"] == "c"], per_group=3)
    assert set(worst["group"]) == {HIGHEST_LOSS}
    assert set(PREDICTIONS) <= set(worst)


def test_studies_are_ranked_by_mean_loss() -> None:
    table = worst_studies(OOF, 2)
    assert table["study_id"].tolist() == ["a", "b"]
    assert table["slices"].tolist() == [3, 2]
    assert table["positive_slices"].tolist() == [2, 1]
    assert table["called_slices"].tolist() == [1, 1]


def test_errors_are_counted_in_their_bands() -> None:
    bands = error_bands(OOF)
    assert bands["low"].tolist() == [0.5, 0.7, 0.9, 0.99]
    # Distances of misses: 0.99, 0.98, 0.7; of false alarms: 0.6, 0.97.
    assert bands["missed"].sum() == 3
    assert bands["missed"].tolist()[:3] == [0, 1, 1]
    assert bands["false_alarms"].tolist() == [1, 0, 1, 0]


def test_every_error_is_in_one_band() -> None:
    probability = np.linspace(0, 1, 101)
    oof = _oof([("a", k, k % 2, p) for k, p in enumerate(probability)])
    bands = error_bands(oof)
    wrong = (oof["any"] == 1) != (oof["pred_any"] >= 0.5)
    assert bands[["missed", "false_alarms"]].to_numpy().sum() == wrong.sum()


def _grey(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture)))


def test_windows_map_known_hu_to_known_grey() -> None:
    hu = np.full((16, 16), 40, dtype=np.int16)
    grey = _grey(picture_slice(hu, WINDOWS))
    assert grey.shape == (16, 16 + 4 + 16)
    assert grey[8, 8] == pytest.approx(127.5, abs=2)
    assert grey[8, 28] == pytest.approx(255 * (40 - (600 - 1400)) / 2800, abs=2)


class Store:
    """Volumes in which slice k is 10 k HU, and 40 HU more in study b."""

    def read(self, study_id: str, start: int, stop: int) -> np.ndarray:
        values = np.arange(start, stop) * 10 + (40 if study_id == "b" else 0)
        return np.broadcast_to(values[:, None, None], (stop - start, 8, 8)).astype(np.int16)


def test_each_picture_shows_its_slice() -> None:
    slices = pd.DataFrame({"study_id": ["a", "b", "a"], "slice_num": [1, 2, 1]})
    table = picture_slices(slices, Store(), {"brain": (40.0, 80.0)})
    assert table[["study_id", "slice_num"]].to_numpy().tolist() == [["a", 1], ["b", 2]]
    greys = [float(_grey(picture).mean()) for picture in table["picture"]]
    assert greys == pytest.approx([255 * 10 / 80, 255 * 60 / 80], abs=2)
