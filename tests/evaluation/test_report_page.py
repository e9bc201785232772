import math

import pandas as pd
import pytest

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.evaluation.formatting import (
    DASH,
    MINUS,
    breakable,
    count,
    number,
    share,
    span,
    words,
)
from rsna19_kedro.evaluation.page import metric_tables, tag_tables, training_table
from rsna19_kedro.evaluation.scores import SHOWN_METRICS


def test_numbers_are_formatted() -> None:
    assert count(674258) == "674,258"
    assert number(0.05704, 4) == "0.0570"
    assert number(-0.0175, 4) == f"{MINUS}0.0175"
    assert number(-0.00001, 3) == "0.000"
    assert number(math.nan, 3) == number(None, 3) == DASH
    assert share(97103, 674258).startswith("14.4")
    assert share(3, 100000)[:4] == "0.00"
    assert share(0, 0) == DASH
    assert span({"low": 0.0943, "high": 0.1198}, 3) == "0.094 to 0.120"
    assert span({"low": None, "high": None}, 3) == DASH
    assert words("hu_histogram") == "HU histogram, logistic regression"
    assert words("my_own") == "my own"


def test_long_names_can_wrap_and_are_escaped() -> None:
    assert str(breakable("a_b")) == "a_<wbr>b"
    assert "<script>" not in str(breakable("<script>_x"))


def _metrics(values: dict[str, float]) -> pd.DataFrame:
    rows = [
        {"predictor": name, "class": part, **dict.fromkeys(SHOWN_METRICS, value)}
        for name, value in values.items()
        for part in (*CLASSES, "weighted")
    ]
    return pd.DataFrame(rows)


def test_lowest_loss_and_highest_auc_are_marked() -> None:
    loss, area = metric_tables(_metrics({"m": 0.2, "n": 0.7, "second level": math.nan}))[:2]
    assert [row["name"] for row in loss["rows"]] == ["m", "n", "second level"]
    assert [row["cells"][0]["best"] for row in loss["rows"]] == [True, False, False]
    assert [row["cells"][0]["best"] for row in area["rows"]] == [False, True, False]
    assert [row["last"] for row in loss["rows"]] == [False, False, True]
    assert len(loss["rows"][0]["cells"]) == 7
    assert len(area["rows"][0]["cells"]) == 6


def test_lowest_validation_losses_by_model_and_fold() -> None:
    histories = pd.DataFrame(
        {
            "model": ["n", "n", "n", "m", "m"],
            "fold": [1, 1, 0, 0, 1],
            "val_loss": [0.5, 0.3, 0.1, 0.2, 0.4],
        }
    )
    table = training_table(histories)
    assert table["folds"] == [0, 1]
    assert [row["model"] for row in table["rows"]] == ["n", "m"]
    assert table["rows"][0]["losses"] == [0.1, 0.3]
    assert table["rows"][1]["mean"] == pytest.approx(0.3)


def test_rare_values_of_a_tag_become_one_row() -> None:
    rows = [{"tag": "t", "value": str(k), "slices": 10 - k, "studies": 1} for k in range(6)]
    [(title, shown)] = tag_tables(pd.DataFrame(rows), longest=3)
    assert title == "t"
    assert [row["value"] for row in shown] == ["0", "1", "4 other values"]
    assert shown[2]["slices"] == 8 + 7 + 6 + 5
