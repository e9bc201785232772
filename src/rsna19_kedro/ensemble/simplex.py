"""Optimal convex combinations of predictions under log loss.

The reference (docs/reference.md#second-level) fits its second-level weights, non-negative and
summing to 1, by 10,000 gradient steps. For one class, with predictions ``x_i`` of slice i and
``a_i = x_i`` for positive slices and ``1 - x_i`` for negative ones, the loss is

    f(w) = -mean(log(a_i . w))    over the simplex,

the negative log-likelihood of mixture proportions, which is convex and self-concordant. It is
solved by sequential quadratic programming with an active set, after Kim, Carbonetto, Stephens
and Anitescu ("A fast algorithm for maximum likelihood estimation of mixture proportions using
sequential quadratic programming", 2020). Because ``grad f(w) . w`` is
always -1, the Frank-Wolfe gap, an upper bound of ``f(w) - min f``, is
``-1 - min_j grad_j f(w)``. It certifies every solution.

Predictions of exactly 0 or 1 would make the loss infinite. Clipping would break convexity.
Instead, every prediction x is shrunk to ``eps + (1 - 2 eps) x``, an affine map that commutes
with convex combinations.
"""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dposv
from threadpoolctl import threadpool_limits

from rsna19_kedro.ensemble.level1 import Bools, Floats, Floats32, Ints
from rsna19_kedro.errors import InputError
from rsna19_kedro.parallel import available_cores

logger = logging.getLogger(__name__)

_BLOCK_ROWS: Final = 4096
"""Rows per block: a block with 330 float64 features fits into the cache."""
_COARSE_ROWS: Final = 40_000
"""With more than twice this many rows, a subset is solved first to give start and active set."""
_MAX_STEPS: Final = 200
_RIDGE: Final = 1e-10
"""Added to the Hessian's diagonal, relative to its mean: equal features make it singular."""


@dataclass(frozen=True)
class SimplexFit:
    """Solution for one class.

    Attributes:
        weights: ``(F,)`` non-negative, sum 1.
        loss: Mean log loss at the weights.
        gap: Upper bound of the distance to the lowest possible loss (Frank-Wolfe gap).
        steps: Newton steps on all rows.
    """

    weights: Floats
    loss: float
    gap: float
    steps: int


def combine(features: Floats32, weights: Floats, eps: float) -> Floats:
    """Compute the predictions of the combination, shrunk from 0 and 1 by ``eps``.

    Args:
        features: ``(N, F)`` probabilities.
        weights: ``(F,)`` or ``(F, C)`` columns that sum to 1.
        eps: The result lies in ``[eps, 1 - eps]``.

    Returns:
        ``(N,)`` or ``(N, C)`` float64.
    """
    result = np.empty((len(features), *weights.shape[1:]))
    for rows in _blocks(len(features)):
        result[rows] = features[rows].astype(np.float64) @ weights
    return eps + (1.0 - 2.0 * eps) * result


def fit_simplex(
    features: Floats32, positive: Bools, *, eps: float = 1e-6, gap: float = 1e-6
) -> SimplexFit:
    """Find the weights of lowest log loss for one class.

    Args:
        features: ``(N, F)`` float32 probabilities in 0..1.
        positive: ``(N,)`` whether the slice shows the class.
        eps: Shrinkage of predictions from 0 and 1.
        gap: Maximum distance of the mean log loss from the optimum.

    Returns:
        The weights with their certificate; deterministic.

    Raises:
        InputError: No rows, wrong shapes, or values outside 0..1.
    """
    features = np.ascontiguousarray(features, dtype=np.float32)
    positive = np.asarray(positive, dtype=bool)
    _check(features, positive)
    count = features.shape[1]
    weights = np.full(count, 1.0 / count)
    if len(features) > 2 * _COARSE_ROWS:
        subset = _spread_rows(positive)
        coarse = fit_simplex(features[subset], positive[subset], eps=eps, gap=max(gap, 1e-5))
        weights = coarse.weights
    return _descend(_Objective(features, positive, eps), weights, gap)


def fit_classes(
    features: Floats32,
    labels: npt.NDArray[np.integer],
    *,
    eps: float = 1e-6,
    gap: float = 1e-6,
    threads: int | None = None,
) -> list[SimplexFit]:
    """Solve all classes in parallel.

    BLAS is limited to one thread: on busy cores, synchronising BLAS threads takes a hundred
    times as long as the small factorisations themselves.

    Args:
        features: ``(N, F)`` float32 probabilities in 0..1.
        labels: ``(N, C)`` zeros and ones.
        eps: As for ``fit_simplex``.
        gap: As for ``fit_simplex``.
        threads: Number of threads; ``None`` uses all cores.

    Returns:
        One solution per class.
    """

    def solve(column: npt.NDArray[np.integer]) -> SimplexFit:
        return fit_simplex(features, column > 0, eps=eps, gap=gap)

    with (
        threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(threads or available_cores()) as pool,
    ):
        return list(pool.map(solve, labels.T))


def _check(features: Floats32, positive: Bools) -> None:
    if features.ndim != 2 or not features.size or positive.shape != (len(features),):
        raise InputError(
            f"The simplex got features of shape {features.shape} and labels of shape "
            f"{positive.shape}; expected (N, F) and (N,) with at least one row and feature."
        )
    if not (features.min() >= 0.0 and features.max() <= 1.0):
        raise InputError("The simplex got NaN or values outside 0..1; expected probabilities.")


def _blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, _BLOCK_ROWS):
        yield slice(start, min(start + _BLOCK_ROWS, count))


def _spread_rows(positive: Bools) -> Ints:
    """Select every k-th positive and every k-th negative row."""
    stride = -(-len(positive) // _COARSE_ROWS)
    kinds = (np.flatnonzero(positive), np.flatnonzero(~positive))
    return np.sort(np.concatenate([rows[::stride] for rows in kinds]))


@dataclass(frozen=True)
class _Objective:
    """Loss of one class and its derivatives, computed in blocks of rows."""

    features: Floats32
    positive: Bools
    eps: float

    def true_probability(self, prediction: Floats) -> Floats:
        """Probability of the true label, ``a_i . w``."""
        return np.where(self.positive, prediction, 1.0 - prediction)

    def loss(self, prediction: Floats) -> float:
        return float(-np.log(self.true_probability(prediction)).mean())

    def change(self, columns: Ints, direction: Floats) -> Floats:
        """Change of the predictions along a direction that sums to 0."""
        result = np.empty(len(self.features))
        for rows in _blocks(len(self.features)):
            result[rows] = self.features[rows][:, columns].astype(np.float64) @ direction
        return (1.0 - 2.0 * self.eps) * result

    def gradient(self, prediction: Floats) -> Floats:
        """Gradient by weight, ``(F,)``, in float64, because the gap depends on it."""
        slope = self._slope(prediction)
        total = np.zeros(self.features.shape[1])
        for rows in _blocks(len(self.features)):
            total += slope[rows] @ self.features[rows].astype(np.float64)
        linear = (1.0 - 2.0 * self.eps) * total + self.eps * slope.sum()
        constant = np.sum(1.0 / self.true_probability(prediction), where=~self.positive)
        return -(linear + constant) / len(self.features)

    def hessian(self, prediction: Floats, columns: Ints) -> Floats:
        """Hessian of some weights, for directions that sum to 0.

        For these, ``1 - x`` of negative slices acts as ``-x``, and the mean over features
        cancels. It is subtracted first: a negative slice with predictions of 1 would otherwise
        add 1e12 in an unused direction and cause large rounding errors.
        """
        slope = self._slope(prediction)
        total = np.zeros((len(columns), len(columns)))
        for rows in _blocks(len(self.features)):
            block = self.features[rows][:, columns].astype(np.float64)
            block -= block.mean(axis=1, keepdims=True)
            block *= slope[rows, None]
            total += block.T @ block
        return (1.0 - 2.0 * self.eps) ** 2 * total / len(self.features)

    def _slope(self, prediction: Floats) -> Floats:
        return np.where(self.positive, 1.0, -1.0) / self.true_probability(prediction)


def _descend(objective: _Objective, weights: Floats, target_gap: float) -> SimplexFit:
    prediction = combine(objective.features, weights, objective.eps)
    for step in range(_MAX_STEPS):
        gradient = objective.gradient(prediction)
        gap = float(weights @ gradient - gradient.min())
        loss = objective.loss(prediction)
        if gap < target_gap:
            return SimplexFit(weights, loss, max(gap, 0.0), step)
        active = np.flatnonzero((weights > 0.0) | (gradient < weights @ gradient))
        hessian = objective.hessian(prediction, active)
        target = _quadratic_minimum(hessian, gradient[active], weights[active])
        direction = target - weights[active]
        change = objective.change(active, direction)
        length = _line_search(
            objective, prediction, change, loss, float(gradient[active] @ direction)
        )
        moved = weights[active] + length * direction
        weights = np.zeros_like(weights)
        weights[active] = moved / moved.sum()
        prediction = combine(objective.features, weights, objective.eps)
    logger.warning(
        "Simplex did not converge: gap %.1e after %d steps, target %.1e", gap, step + 1, target_gap
    )
    return SimplexFit(weights, loss, gap, _MAX_STEPS)


def _line_search(
    objective: _Objective, prediction: Floats, change: Floats, loss: float, slope: float
) -> float:
    """Return the largest of 1, 1/2, 1/4, ... that fulfils the Armijo condition."""
    length = 1.0
    while length > 1e-12:
        if objective.loss(prediction + length * change) <= loss + 1e-4 * length * slope:
            break
        length /= 2.0
    return length


def _quadratic_minimum(hessian: Floats, gradient: Floats, start: Floats) -> Floats:
    """Minimise ``g.(v - w) + (v - w).H.(v - w) / 2`` for v on the simplex, from w.

    A primal active-set method: solve for the free weights, stop at the first that reaches 0
    and fix it; at a solution, free the fixed weight with the most negative multiplier.
    Curvature along (1, 1, ..., 1), which is orthogonal to the simplex, is added for better
    conditioning.
    """
    count = len(start)
    scale = max(float(np.trace(hessian)) / count, 1e-8)
    curved = hessian + scale * (1.0 + _RIDGE * np.eye(count))
    tolerance = 1e-10 * max(1.0, float(np.abs(gradient).max()))
    value, free = start.copy(), start > 0.0
    for _ in range(20 * count):
        slope = gradient + curved @ (value - start)
        # LAPACK itself: for matrices this small, SciPy's checks take longer than the solution.
        sides = np.stack([slope[free], np.ones(free.sum())], axis=1)
        _, newton, fault = dposv(curved[np.ix_(free, free)], sides)
        if fault:
            raise np.linalg.LinAlgError(f"The Hessian of the simplex is not definite ({fault}).")
        multiplier = newton[:, 0].sum() / newton[:, 1].sum()
        step = np.zeros(count)
        step[free] = multiplier * newton[:, 1] - newton[:, 0]
        shrinking = step < 0.0
        limit = np.where(shrinking, -value / np.where(shrinking, step, -1.0), np.inf)
        length = min(1.0, float(limit.min()))
        value = np.maximum(value + length * step, 0.0)
        if length < 1.0:
            blocked = int(limit.argmin())
            value[blocked], free[blocked] = 0.0, False
            continue
        reduced = np.where(free, 0.0, gradient + curved @ (value - start) - multiplier)
        if reduced.min() >= -tolerance:
            break
        free[int(reduced.argmin())] = True
    return value / value.sum()
