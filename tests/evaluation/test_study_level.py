"""Study-level metrics: operating points, net benefit and losses by fold, worked by hand."""

import numpy as np
import pandas as pd
import pytest

from rsna19_kedro.contracts import CLASSES, PREDICTIONS
from rsna19_kedro.evaluation.decision import draw_decision, net_benefit
from rsna19_kedro.evaluation.metrics import weighted_log_loss
from rsna19_kedro.evaluation.scores import fold_losses
from rsna19_kedro.evaluation.study_level import operating_point, study_metrics, study_table
from rsna19_kedro.evaluation.worst_slices import studies_by_class


def _slices(studies: int = 20) -> pd.DataFrame:
    """Make two slices per study; odd studies have a subdural haemorrhage on the second slice."""
    rows = []
    for study in range(studies):
        for number in range(2):
            bleeds = study % 2 == 1 and number == 1
            labels = {name: int(bleeds and name in ("subdural", "any")) for name in CLASSES}
            value = 0.9 if bleeds else 0.02 * study
            rows.append(
                {
                    "sop_instance_uid": f"i{study}-{number}",
                    "study_id": f"s{study:02d}",
                    "slice_num": number,
                    "patient_id": f"p{study}",
                    "fold": study % 2,
                    **labels,
                    **dict.fromkeys(PREDICTIONS, value),
                }
            )
    return pd.DataFrame(rows)


def test_a_study_has_the_maximum_of_its_slices() -> None:
    table = study_table(_slices(4)).set_index("study_id")
    assert table["any"].tolist() == [0, 1, 0, 1]
    assert table["pred_any"].tolist() == pytest.approx([0.0, 0.9, 0.04, 0.9])
    assert table["patient_id"].tolist() == ["p0", "p1", "p2", "p3"]


@pytest.mark.parametrize(("specificity", "expected"), [(0.9, 0.75), (0.95, 0.5), (1.0, 0.25)])
def test_operating_point_of_twenty_negatives(specificity: float, expected: float) -> None:
    negatives = np.arange(20) / 20  # 0.00 to 0.95
    positives = np.array([0.2, 0.87, 0.93, 0.97])
    truth = np.r_[np.zeros(20), np.ones(4)]
    sensitivity = operating_point(truth, np.r_[negatives, positives], specificity)
    assert sensitivity == pytest.approx(expected)


def test_ties_do_not_lower_the_specificity() -> None:
    truth = np.array([0.0, 0, 0, 0, 1, 1])
    assert operating_point(truth, np.array([0.5, 0.5, 0.5, 0.5, 0.5, 0.6]), 0.75) == 0.5


def test_metrics_of_perfectly_separated_studies() -> None:
    table = study_metrics(_slices(), resamples=100, seed=0).set_index("class")
    assert table.loc["any", ["studies", "positive", "auc"]].tolist() == [20, 10, 1.0]
    assert table.loc["any", "sensitivity_at_95"] == 1.0
    assert table.loc["any", "specificity_at_95"] == 1.0
    assert np.isnan(table.loc["epidural", "auc"])
    assert np.isnan(table.loc["epidural", "sensitivity_at_90"])


def test_net_benefit_by_hand() -> None:
    truth = np.array([1.0, 1, 0, 0])
    benefit = net_benefit(truth, np.array([0.9, 0.3, 0.6, 0.1]), np.array([0.2, 0.5]))
    # At 0.2: 2 true positives, 1 false positive with weight 1/4; at 0.5: 1 and 1, weight 1.
    assert benefit == pytest.approx([2 / 4 - 1 / 4 / 4, 0.0])


def test_decision_figure_notes_classes_without_positives() -> None:
    figure = draw_decision(study_table(_slices()))
    texts = [[text.get_text() for text in panel.texts] for panel in figure.axes]
    assert texts[0] == ["no positive studies"]
    assert texts[-1] == []


def test_losses_by_fold_and_their_interval() -> None:
    slices = _slices()
    labels = slices[list(CLASSES)].to_numpy()
    values = slices[list(PREDICTIONS)].to_numpy()
    folds, patients = slices["fold"].to_numpy(), slices["patient_id"]
    table = fold_losses(labels, {"m": values}, folds, patients, resamples=200, seed=1)
    (row,) = table.to_dict("records")
    assert row["loss"] == pytest.approx(weighted_log_loss(labels, values))
    for fold in (0, 1):
        rows = folds == fold
        assert row[f"fold_{fold}"] == pytest.approx(weighted_log_loss(labels[rows], values[rows]))
    assert row["loss_low"] < row["loss"] < row["loss_high"]


def test_positive_studies_are_ranked_by_class_loss() -> None:
    slices = _slices()
    slices.loc[slices["sop_instance_uid"] == "i7-1", "pred_subdural"] = 0.01
    table = studies_by_class(slices, 2)
    assert set(table["class"]) == {"subdural", "any"}
    subdural = table[table["class"] == "subdural"]
    assert subdural[subdural["end"] == "highest"]["study_id"].iloc[0] == "s07"
    assert subdural[subdural["end"] == "lowest"]["study_id"].iloc[0] == "s01"
