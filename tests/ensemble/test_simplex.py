import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar

from rsna19_kedro.ensemble import simplex
from rsna19_kedro.ensemble.simplex import combine, fit_simplex
from rsna19_kedro.errors import InputError

EPS = 1e-6


def case(count, features, seed=0, share=0.2):
    """Simulate noisy predictions of one class, some much better than others."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(np.log(share / (1 - share)) * 1.5, 2.0, count)
    positive = rng.random(count) < 1 / (1 + np.exp(-logit))
    noise = rng.standard_normal((count, features)) * rng.uniform(0.5, 6.0, features)
    return (1 / (1 + np.exp(-(logit[:, None] + noise)))).astype(np.float32), positive


def loss_of(features, positive, weights):
    prediction = EPS + (1 - 2 * EPS) * (features.astype(np.float64) @ weights)
    return -np.log(np.where(positive, prediction, 1 - prediction)).mean()


def gradient_of(features, positive, weights):
    """Gradient of the mean log loss in float64, independent of the code under test."""
    shrunk = EPS + (1 - 2 * EPS) * features.astype(np.float64)
    given = np.where(positive[:, None], shrunk, 1 - shrunk)
    return -(given / (given @ weights)[:, None]).mean(axis=0)


@pytest.mark.parametrize("seed", range(5))
def test_two_models_against_minimising_along_a_line(seed):
    features, positive = case(500, 2, seed)
    line = minimize_scalar(
        lambda a: loss_of(features, positive, np.array([a, 1 - a])),
        bounds=(0, 1),
        method="bounded",
        options={"xatol": 1e-10},
    )
    solution = fit_simplex(features, positive, eps=EPS, gap=1e-10)
    assert solution.weights[0] == pytest.approx(line.x, abs=1e-4)
    assert solution.loss <= line.fun + 1e-9


def test_two_models_against_the_closed_form():
    """Two constant models are combined to the mean of the labels."""
    features = np.tile(np.array([[0.1, 0.6]], dtype=np.float32), (10, 1))
    positive = np.arange(10) < 3
    solution = fit_simplex(features, positive, eps=EPS, gap=1e-12)
    assert combine(features, solution.weights, EPS)[0] == pytest.approx(0.3, abs=1e-6)
    assert solution.weights[1] == pytest.approx(0.4, abs=1e-4)
    outside = fit_simplex(features, np.arange(10) < 8, eps=EPS)
    np.testing.assert_allclose(outside.weights, [0, 1], atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_small_case_against_slsqp(seed):
    features, positive = case(400, 8, seed)
    reference = minimize(
        lambda w: loss_of(features, positive, w),
        np.full(8, 1 / 8),
        jac=lambda w: gradient_of(features, positive, w),
        method="SLSQP",
        bounds=[(0, 1)] * 8,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-12, "maxiter": 500},
    )
    solution = fit_simplex(features, positive, eps=EPS, gap=1e-9)
    assert solution.loss == pytest.approx(loss_of(features, positive, solution.weights), abs=1e-12)
    assert solution.loss <= reference.fun + 1e-9
    np.testing.assert_allclose(solution.weights, reference.x / reference.x.sum(), atol=2e-3)


def test_large_case_fulfils_kkt_and_its_certificate_is_correct(monkeypatch):
    monkeypatch.setattr(simplex, "_COARSE_ROWS", 2000)  # to use the coarse start
    features, positive = case(12_000, 120)
    solution = fit_simplex(features, positive, eps=EPS, gap=1e-7)
    weights, slope = solution.weights, gradient_of(features, positive, solution.weights)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    assert solution.gap < 1e-7
    assert weights @ slope - slope.min() == pytest.approx(solution.gap, abs=1e-10)
    used = weights > 1e-3
    assert np.abs(slope[used] - slope.min()).max() < 1e-3
    assert 1 < used.sum() < 60
    assert solution.loss == pytest.approx(loss_of(features, positive, weights), abs=1e-12)


def test_the_same_input_gives_the_same_weights():
    features, positive = case(1500, 20)
    first, second = (fit_simplex(features, positive) for _ in range(2))
    np.testing.assert_array_equal(first.weights, second.weights)


@given(seed=st.integers(0, 10_000), count=st.integers(1, 60), width=st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_any_input_is_solved_to_the_certified_gap(seed, count, width):
    """Exact zeros and ones, equal features, single rows, equal labels."""
    rng = np.random.default_rng(seed)
    features = rng.random((count, width)).astype(np.float32)
    features[rng.random(features.shape) < 0.3] = rng.integers(2)
    features[:, -1] = features[:, 0]
    positive = rng.random(count) < rng.choice([0.0, 0.1, 0.5, 1.0])
    solution = fit_simplex(features, positive, eps=EPS, gap=1e-6)
    slope = gradient_of(features, positive, solution.weights)
    assert solution.weights @ slope - slope.min() < 1.1e-6
    assert solution.weights.min() >= 0
    assert abs(solution.weights.sum() - 1) < 1e-12


def test_a_perfect_model_gets_all_the_weight():
    features, positive = case(3000, 3)
    features[:, 1] = np.where(positive, 0.999, 0.001)
    np.testing.assert_allclose(fit_simplex(features, positive).weights, [0, 1, 0], atol=1e-6)


def test_a_class_without_positives_prefers_the_lowest_predictions():
    features, _ = case(300, 4)
    features[:, 2] *= 0.01
    solution = fit_simplex(features, np.zeros(300, dtype=bool))
    assert solution.weights.argmax() == 2
    assert solution.gap < 1e-6


@pytest.mark.parametrize("bad", [np.nan, -0.1, 1.1])
def test_values_that_are_not_probabilities_are_refused(bad):
    features, positive = case(20, 3)
    features[4, 1] = bad
    with pytest.raises(InputError, match="NaN or values outside"):
        fit_simplex(features, positive)


def test_wrong_shapes_are_refused():
    features, positive = case(20, 3)
    with pytest.raises(InputError, match="expected"):
        fit_simplex(features, positive[:-1])
    with pytest.raises(InputError, match="expected"):
        fit_simplex(features[:0], positive[:0])
