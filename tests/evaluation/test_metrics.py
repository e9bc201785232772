import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, log_loss

from random_predictions import random_case
from rsna19_kedro.errors import InputError
from rsna19_kedro.evaluation.metrics import (
    class_log_losses,
    class_metrics,
    prevalence_loss,
    roc_auc,
    weighted_log_loss,
)


def test_loss_of_one_half_is_log_two():
    labels, _ = random_case()
    assert weighted_log_loss(labels, np.full(labels.shape, 0.5)) == pytest.approx(math.log(2))


def test_any_counts_twice():
    labels = np.ones((1, 6))
    wrong_any = np.array([[1, 1, 1, 1, 1, 0.5]])
    wrong_type = np.array([[0.5, 1, 1, 1, 1, 1]])
    assert weighted_log_loss(labels, wrong_any) == pytest.approx(2 / 7 * math.log(2), rel=1e-4)
    assert weighted_log_loss(labels, wrong_type) == pytest.approx(1 / 7 * math.log(2), rel=1e-4)


def test_certain_wrong_predictions_are_clipped():
    loss = weighted_log_loss(np.ones((1, 6)), np.zeros((1, 6)), eps=1e-6)
    assert loss == pytest.approx(-math.log(1e-6))


def test_class_losses_match_scikit_learn():
    labels, predictions = random_case()
    expected = [log_loss(labels[:, k], predictions[:, k]) for k in range(6)]
    np.testing.assert_allclose(class_log_losses(labels, predictions), expected, rtol=1e-9)


def test_prevalence_loss_is_the_entropy():
    labels = np.zeros((4, 6))
    labels[0] = 1
    entropy = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert prevalence_loss(labels) == pytest.approx(entropy)


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_no_constant_is_better_than_the_prevalence(seed):
    labels, predictions = random_case(seed, 50)
    constant = np.broadcast_to(predictions[0], labels.shape)
    assert weighted_log_loss(labels, constant) >= prevalence_loss(labels) - 1e-12


def test_metrics_by_hand():
    labels = np.tile(np.array([[1], [1], [1], [0], [0]]), (1, 6))
    predictions = np.tile(np.array([[0.9], [0.5], [0.4], [0.6], [0.1]]), (1, 6))
    metrics = class_metrics(labels, predictions)
    for name, value in {
        "accuracy": 3 / 5,
        "sensitivity": 2 / 3,
        "specificity": 1 / 2,
        "f1": 2 / 3,
        "roc_auc": 4 / 6,
        "prevalence": 3 / 5,
    }.items():
        np.testing.assert_allclose(metrics[name], value, err_msg=name)
    assert metrics["f1"][0] == pytest.approx(f1_score(labels[:, 0], predictions[:, 0] >= 0.5))


def test_undefined_metrics_are_nan():
    metrics = class_metrics(np.zeros((3, 6)), np.full((3, 6), 0.2))
    for name in ("roc_auc", "sensitivity", "f1"):
        assert np.isnan(metrics[name]).all()
    assert (metrics["specificity"] == 1).all()
    assert math.isnan(roc_auc([1, 1], [0.2, 0.3]))


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        (np.zeros((3, 5)), np.zeros((3, 5)), "expected \\(N, 6\\)"),
        (np.zeros((3, 6)), np.zeros((4, 6)), "expected \\(N, 6\\)"),
        (np.zeros((0, 6)), np.zeros((0, 6)), "no slices"),
        (np.zeros((2, 6)), np.array([[0.5] * 6, [np.nan] * 6]), "row 1"),
    ],
)
def test_bad_arrays_are_refused(labels, predictions, message):
    with pytest.raises(InputError, match=message):
        weighted_log_loss(labels, predictions)
