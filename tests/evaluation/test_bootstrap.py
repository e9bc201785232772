"""Intervals by patient: width, pairs, and reproducibility."""

import math

import numpy as np
import pytest

from random_predictions import random_case
from rsna19_kedro.errors import InputError
from rsna19_kedro.evaluation.bootstrap import bootstrap_auc, bootstrap_difference, bootstrap_loss
from rsna19_kedro.evaluation.metrics import roc_auc, weighted_log_loss


def test_interval_with_one_slice_per_patient_matches_the_standard_error():
    labels, predictions = random_case(count=2000)
    per_slice = [weighted_log_loss(labels[i : i + 1], predictions[i : i + 1]) for i in range(2000)]
    error = np.std(per_slice) / math.sqrt(2000)
    interval = bootstrap_loss(labels, predictions, np.arange(2000), resamples=2000)
    assert interval.value == pytest.approx(weighted_log_loss(labels, predictions))
    assert (interval.high - interval.low) / (2 * 1.96) == pytest.approx(error, rel=0.1)


def test_repeated_slices_of_a_patient_do_not_narrow_the_interval():
    labels, predictions = random_case(count=100)
    once = bootstrap_loss(labels, predictions, np.arange(100), seed=3)
    copied = bootstrap_loss(
        labels.repeat(30, axis=0), predictions.repeat(30, axis=0), np.arange(100).repeat(30), seed=3
    )
    np.testing.assert_allclose(copied, once, rtol=1e-9)


def test_interval_of_a_single_patient_has_no_width():
    labels, predictions = random_case(count=5)
    interval = bootstrap_loss(labels, predictions, ["p"] * 5)
    assert interval == pytest.approx([weighted_log_loss(labels, predictions)] * 3)


def test_paired_difference_cancels_what_is_common():
    labels, predictions = random_case(count=300)
    patients = np.arange(300) // 3
    zero = bootstrap_difference(labels, predictions, predictions, patients)
    assert zero == (0, 0, 0)
    better = np.where(labels > 0, predictions**0.5, predictions**2)
    gain = bootstrap_difference(labels, better, predictions, patients)
    loss = bootstrap_loss(labels, better, patients)
    assert gain.high < 0
    assert gain.value == pytest.approx(
        weighted_log_loss(labels, better) - weighted_log_loss(labels, predictions)
    )
    assert bootstrap_loss(labels, better, patients) == loss


def test_a_patient_id_per_slice_is_required():
    with pytest.raises(InputError, match="2 patient ids for 3 slices"):
        bootstrap_loss(np.zeros((3, 6)), np.full((3, 6), 0.1), ["a", "b"])


def test_auc_interval_contains_the_value_and_is_reproducible():
    rng = np.random.default_rng(0)
    labels = (rng.random(600) < 0.3).astype(float)
    scores = labels + rng.normal(0, 1, 600)
    patients = np.repeat(np.arange(60), 10)
    first = bootstrap_auc(labels, scores, patients, resamples=300)
    assert first.value == pytest.approx(roc_auc(labels, scores))
    assert first.low < first.value < first.high
    assert first == bootstrap_auc(labels, scores, patients, resamples=300)
    # Hanley and McNeil's standard error of this area is 0.022 with independent slices.
    assert first.high - first.low == pytest.approx(2 * 1.96 * 0.022, rel=0.35)


def test_auc_interval_of_a_single_patient_has_no_width():
    interval = bootstrap_auc([0, 1, 1], [0.2, 0.9, 0.1], ["p"] * 3, resamples=100)
    assert interval == pytest.approx((0.5, 0.5, 0.5))


def test_auc_without_positives_is_nan():
    assert all(math.isnan(end) for end in bootstrap_auc([0, 0], [0.1, 0.2], ["a", "b"]))
