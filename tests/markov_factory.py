"""First-level predictions whose best combination along the slices is known exactly."""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from rsna19_kedro.ensemble.level1 import FirstLevel

PREVALENCE = 0.15
STAYS = 0.85
"""Chance that a slice shows what the slice below it shows."""


@dataclass
class Chains:
    """Simulated studies.

    Attributes:
        features: Each model's chance of each class, from its own view of that slice alone.
        labels: ``(N, 6)``; ``any`` is the greatest of the types.
        patients: ``(N,)``, one study each.
        posterior: ``(N, 6)`` chance of each class given all views of all slices of the study:
            no combination of the predictions has a lower expected loss.
    """

    features: FirstLevel
    labels: np.ndarray
    patients: np.ndarray
    posterior: np.ndarray


def chains(studies: int, length: int = 20, models: int = 3, seed: int = 0) -> Chains:
    """Runs of blood along the slices (a Markov chain a type), seen by noisy models."""
    rng = np.random.default_rng(seed)
    begins = PREVALENCE * (1 - STAYS) / (1 - PREVALENCE)
    truth = np.empty((length, studies, 5), dtype=bool)
    truth[0] = rng.random((studies, 5)) < PREVALENCE
    for place in range(1, length):
        chance = np.where(truth[place - 1], STAYS, begins)
        truth[place] = rng.random((studies, 5)) < chance
    noise = np.array([1.2, 1.5, 1.8])[:models, None]
    views = np.where(truth, 1.0, -1.0)[:, :, None] + noise * rng.standard_normal(
        (length, studies, models, 5)
    )
    evidence = 2.0 * views / noise**2  # log likelihood ratio of a view
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
    """Add the chance of any, the types being independent."""
    return np.concatenate([types, 1.0 - np.prod(1.0 - types, axis=-1, keepdims=True)], axis=-1)


def _smoothed(evidence: np.ndarray, begins: float) -> np.ndarray:
    """Forward and backward recursion of the two-state chain; evidence ``(length, ...)``."""
    stays = np.array([[1 - begins, begins], [1 - STAYS, STAYS]])
    likelihood = np.stack([np.ones_like(evidence), np.exp(evidence)], axis=-1)
    forward, backward = np.empty_like(likelihood), np.ones_like(likelihood)
    state = np.array([1 - PREVALENCE, PREVALENCE])
    for place in range(len(evidence)):
        ahead = state if place == 0 else forward[place - 1] @ stays
        forward[place] = ahead * likelihood[place]
        forward[place] /= forward[place].sum(axis=-1, keepdims=True)
    for place in range(len(evidence) - 2, -1, -1):
        backward[place] = (backward[place + 1] * likelihood[place + 1]) @ stays.T
        backward[place] /= backward[place].sum(axis=-1, keepdims=True)
    both = forward * backward
    return both[..., 1] / both.sum(axis=-1)
