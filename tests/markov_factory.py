"""Simulated first-level predictions with a known optimal combination along the slices."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from rsna19_kedro.ensemble.level1 import FirstLevel

PREVALENCE = 0.15
STAYS = 0.85
"""Probability that a positive slice is followed by a positive slice above it."""


@dataclass
class Chains:
    """Simulated studies.

    Attributes:
        features: Predicted probabilities of each model, from its observation of that slice only.
        labels: ``(N, 6)``; ``any`` is the maximum of the types.
        patients: ``(N,)``, one study each.
        posterior: ``(N, 6)`` probability of each class given all observations of the study;
            no combination of the predictions has a lower expected loss.
    """

    features: FirstLevel
    labels: np.ndarray
    patients: np.ndarray
    posterior: np.ndarray


def chains(studies: int, length: int = 20, models: int = 3, seed: int = 0) -> Chains:
    """Simulate haemorrhage along the slices (one Markov chain per type) and noisy models."""
    rng = np.random.default_rng(seed)
    begins = PREVALENCE * (1 - STAYS) / (1 - PREVALENCE)
    truth = np.empty((length, studies, 5), dtype=bool)
    truth[0] = rng.random((studies, 5)) < PREVALENCE
    for index in range(1, length):
        probability = np.where(truth[index - 1], STAYS, begins)
        truth[index] = rng.random((studies, 5)) < probability
    noise = np.array([1.2, 1.5, 1.8])[:models, None]
    observed = np.where(truth, 1.0, -1.0)[:, :, None] + noise * rng.standard_normal(
        (length, studies, models, 5)
    )
    evidence = 2.0 * observed / noise**2  # log likelihood ratio
    single = with_any(expit(logit(PREVALENCE) + evidence))
    posterior = with_any(_smoothed(evidence.sum(axis=2), begins))
    labels = np.concatenate([truth, truth.any(axis=-1, keepdims=True)], axis=-1)

    def rows(values: np.ndarray) -> np.ndarray:
        return np.swapaxes(values, 0, 1).reshape(studies * length, *values.shape[2:])

    study = np.repeat(np.arange(studies), length)
    features = FirstLevel(
        tuple(f"model_{number}" for number in range(models)),
        rows(single).astype(np.float32),
        study,
        np.tile(np.arange(length), studies),
    )
    return Chains(features, rows(labels).astype(np.uint8), study, rows(posterior))


def with_any(types: np.ndarray) -> np.ndarray:
    """Add the probability of any, for independent types."""
    return np.concatenate([types, 1.0 - np.prod(1.0 - types, axis=-1, keepdims=True)], axis=-1)


def _smoothed(evidence: np.ndarray, begins: float) -> np.ndarray:
    """Forward-backward algorithm of the two-state chain; evidence ``(length, ...)``."""
    stays = np.array([[1 - begins, begins], [1 - STAYS, STAYS]])
    likelihood = np.stack([np.ones_like(evidence), np.exp(evidence)], axis=-1)
    forward, backward = np.empty_like(likelihood), np.ones_like(likelihood)
    state = np.array([1 - PREVALENCE, PREVALENCE])
    for index in range(len(evidence)):
        ahead = state if index == 0 else forward[index - 1] @ stays
        forward[index] = ahead * likelihood[index]
        forward[index] /= forward[index].sum(axis=-1, keepdims=True)
    for index in range(len(evidence) - 2, -1, -1):
        backward[index] = (backward[index + 1] * likelihood[index + 1]) @ stays.T
        backward[index] /= backward[index].sum(axis=-1, keepdims=True)
    both = forward * backward
    return both[..., 1] / both.sum(axis=-1)
