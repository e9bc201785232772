import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsna19_kedro.contracts import CLASSES, PREDICTIONS
from rsna19_kedro.evaluation.curves import reliability
from rsna19_kedro.evaluation.scores import metrics_table
from rsna19_kedro.evaluation.summary import candidate_tables, gain_percent, main_numbers


def test_metrics_by_hand() -> None:
    labels = np.zeros((4, 6))
    labels[:2, 4:] = 1
    probability = np.full((4, 6), 0.25)
    probability[:, 4] = probability[:, 5] = [0.75, 0.25, 0.25, 0.75]
    table = metrics_table(labels, {"m": probability}).set_index("class")
    assert list(table.index) == [*CLASSES, "weighted"]
    half_right = -(2 * math.log(0.75) + 2 * math.log(0.25)) / 4
    assert table.loc["any", "log_loss"] == pytest.approx(half_right)
    assert table.loc["epidural", "log_loss"] == pytest.approx(-math.log(0.75))
    weighted = (4 * -math.log(0.75) + 3 * half_right) / 7
    assert table.loc["weighted", "log_loss"] == pytest.approx(weighted)
    for metric in ("sensitivity", "specificity", "f1", "accuracy", "roc_auc"):
        assert table.loc["any", metric] == pytest.approx(0.5)
    assert math.isnan(table.loc["epidural", "roc_auc"])
    assert math.isnan(table.loc["epidural", "sensitivity"])


def test_reliability_of_two_bins_by_hand() -> None:
    curve = reliability(np.array([0, 1, 1, 1]), np.array([0.1, 0.3, 0.9, 1.0]), bins=2)
    assert curve.predicted.tolist() == pytest.approx([0.2, 0.95])
    assert curve.observed.tolist() == [0.5, 1.0]
    assert curve.slices.tolist() == [2, 2]
    assert curve.expected_error == pytest.approx((0.3 + 0.05) / 2)
    # The Wilson interval of 2 out of 2 starts at n / (n + z^2).
    assert curve.low[1] == pytest.approx(2 / (2 + 1.959964**2))
    assert curve.high[1] == pytest.approx(1.0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=60))
def test_reliability_counts_every_slice_once(pairs: list[tuple[int, float]]) -> None:
    labels, probability = (np.array(part, dtype=float) for part in zip(*pairs, strict=True))
    curve = reliability(labels, probability, bins=7)
    assert curve.slices.sum() == len(pairs)
    assert (curve.observed * curve.slices).sum() == pytest.approx(labels.sum())
    assert (curve.low <= curve.observed + 1e-12).all()
    assert (curve.observed <= curve.high + 1e-12).all()


def _scores(*names: str) -> pd.DataFrame:
    rows = [
        {
            "candidate": name,
            "loss": 0.1 * (index + 1),
            "loss_low": 0.05,
            "loss_high": 0.9,
            "difference": 0.1 * index,
            "difference_low": -0.1,
            "difference_high": 0.2,
            "auc_any": 0.9 - 0.1 * index,
        }
        for index, name in enumerate(names)
    ]
    return pd.DataFrame(rows)


def test_candidates_and_references_are_separated() -> None:
    tables = candidate_tables(
        _scores("mean", "simplex", "hu_histogram", "prevalence"), "simplex", 0.4
    )
    assert [row["candidate"] for row in tables["candidates"]] == ["mean", "simplex"]
    assert [row["candidate"] for row in tables["references"]] == ["hu_histogram", "prevalence"]
    assert [row["chosen"] for row in tables["candidates"]] == [False, True]
    assert tables["candidates"][0]["gain_percent"] == pytest.approx(75)
    assert tables["references"][1]["gain_percent"] == pytest.approx(0)
    assert tables["candidates"][0]["difference"]["value"] is None


def _stacked() -> pd.DataFrame:
    keys = {"sop_instance_uid": list("abcd"), "study_id": list("xxyy"), "slice_num": [0, 1, 0, 1]}
    table = pd.DataFrame({**keys, "patient_id": list("ppqq"), "fold": [0, 0, 1, 1]})
    table[list(CLASSES)] = 0
    table.loc[[0, 2], "any"] = 1
    table[list(PREDICTIONS)] = 0.1
    table["pred_any"] = [0.9, 0.2, 0.8, 0.1]
    return table


def test_main_numbers_match_the_tables() -> None:
    scores = _scores("simplex", "mean", "hu_histogram", "prevalence")
    numbers = main_numbers(_stacked(), scores, chosen="simplex", resamples=100, seed=0)
    assert numbers["loss"] == {"value": pytest.approx(0.1), "low": 0.05, "high": 0.9}
    assert numbers["average_loss"] == pytest.approx(0.2)
    assert numbers["average_interval"] == {"low": 0.05, "high": 0.9}
    assert numbers["prevalence_loss"] == pytest.approx(0.4)
    assert numbers["gain_percent"] == pytest.approx(75)
    assert numbers["histogram_auc"] == pytest.approx(0.7)
    assert numbers["auc_any"]["value"] == 1.0
    counts = {name: numbers[name] for name in ("folds", "studies", "slices", "patients")}
    assert counts == {"folds": 2, "studies": 2, "slices": 4, "patients": 2}


def test_without_references_the_entropy_replaces_the_prevalence_loss() -> None:
    numbers = main_numbers(_stacked(), _scores("mean"), chosen="mean", resamples=100, seed=0)
    assert numbers["histogram_auc"] is None
    # Only any occurs, on half of the slices: log 2 with weight 2 of 7.
    assert numbers["prevalence_loss"] == pytest.approx(2 / 7 * math.log(2), abs=1e-5)


def test_no_gain_over_a_loss_of_zero() -> None:
    assert gain_percent(0.1, 0.0) is None
