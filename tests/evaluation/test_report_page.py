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
    period,
    share,
    span,
    template,
    words,
)
from rsna19_kedro.evaluation.page import (
    fold_table,
    metric_tables,
    ranked_studies,
    tag_tables,
    training_table,
)
from rsna19_kedro.evaluation.scores import SHOWN_METRICS
from rsna19_kedro.provenance.history import Origin


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


def test_the_best_value_is_marked_as_it_is_shown_and_not_if_all_are_equal() -> None:
    loss, area = metric_tables(_metrics({"m": 0.20001, "n": 0.20002, "o": 0.3}))[:2]
    assert [row["cells"][0]["best"] for row in loss["rows"]] == [True, True, False]
    assert [row["cells"][0]["best"] for row in area["rows"]] == [False, False, True]
    equal = metric_tables(_metrics({"m": 0.20001, "n": 0.20002}))[0]
    assert not any(cell["best"] for row in equal["rows"] for cell in row["cells"])


def test_the_losses_of_all_folds_and_of_each_fold_are_marked() -> None:
    losses = {"loss": [0.3, 0.2], "fold_0": [0.1, 0.4], "fold_1": [math.nan, 0.3]}
    table = fold_table(pd.DataFrame({"model": ["m", "n"], "loss_low": 0, "loss_high": 1, **losses}))
    assert table["folds"] == ["0", "1"]
    assert [row["best"] for row in table["rows"]] == [False, True]
    assert [[cell["best"] for cell in row["cells"]] for row in table["rows"]] == [
        [True, False],
        [False, False],
    ]


def test_a_study_links_to_a_picture_of_the_same_class() -> None:
    ranked = pd.DataFrame({"class": ["subdural", "any"], "end": "highest", "study_id": "s"})
    worst = pd.DataFrame({"study_id": "s", "slice_num": [4, 7], "any": [1, 1], "subdural": [0, 1]})
    subdural, any_class = (group["highest"][0] for group in ranked_studies(ranked, worst))
    assert (subdural["pictured"], subdural["link"]) == (7, "slice-s-7")
    assert any_class["pictured"] == 4
    [without] = ranked_studies(ranked.head(1), worst.head(1))
    assert without["highest"][0]["link"] is None


def test_last_and_lowest_validation_losses_by_model_and_fold() -> None:
    histories = pd.DataFrame(
        {
            "model": ["n", "n", "n", "m", "m", "m"],
            "fold": [1, 1, 0, 0, 1, 1],
            "val_loss": [0.5, 0.3, 0.1, 0.2, 0.35, 0.4],
        }
    )
    table = training_table(histories)
    assert table["folds"] == [0, 1]
    assert [row["model"] for row in table["rows"]] == ["n", "m"]
    first, second = ([(c["last"], c["lowest"]) for c in row["cells"]] for row in table["rows"])
    assert first == [(0.1, None), (0.3, None)]
    assert second == [(0.2, None), (0.4, 0.35)]
    assert table["rows"][1]["mean"] == pytest.approx(0.3)


def test_only_classes_whose_interval_reaches_chance_are_noted() -> None:
    points = {f"{name}_at_{at}": 0.5 for name in ("sensitivity", "specificity") for at in (90, 95)}
    rows = [
        {"class": name, "studies": 9, "positive": 3, "auc": 0.6, "auc_low": low, "auc_high": 0.9}
        for name, low in {"epidural": 0.5, "subdural": 0.51, "any": math.nan}.items()
    ]
    table = template("tables.html.j2").module.whole_studies([row | points for row in rows])
    note = str(table).split("Not better than chance on these 9 studies")[1]
    assert "<code>epidural</code>.\n" in note
    assert "subdural" not in note
    assert "any" not in note


def test_times_of_several_results_name_the_day_once() -> None:
    def made(last: str) -> Origin:
        return Origin("d", 2, (), "2026-11-26T19:40:01+00:00", last, 1.0, ("m",), ())

    assert period(made("2026-11-26T19:40:09+00:00")) == "2026-11-26 19:40 UTC"
    assert period(made("2026-11-26T20:15:00+00:00")) == "2026-11-26 19:40 to 20:15 UTC"
    assert period(made("2026-11-27T01:00:00+00:00")) == "2026-11-26 19:40 to 2026-11-27 01:00 UTC"


def test_rare_values_of_a_tag_become_one_row() -> None:
    rows = [{"tag": "t", "value": str(k), "slices": 10 - k, "studies": 1} for k in range(6)]
    [(title, shown)] = tag_tables(pd.DataFrame(rows), longest=3)
    assert title == "t"
    assert [row["value"] for row in shown] == ["0", "1", "4 other values"]
    assert shown[2]["slices"] == 8 + 7 + 6 + 5
