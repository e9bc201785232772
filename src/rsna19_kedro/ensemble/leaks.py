"""First-level predictions that are too good to be out of fold."""

import logging

import numpy as np

from rsna19_kedro.ensemble.candidate import Labels
from rsna19_kedro.ensemble.level1 import FirstLevel
from rsna19_kedro.evaluation.metrics import weighted_log_loss

logger = logging.getLogger(__name__)

_SHARE = 0.5


def suspicious_folds(
    features: FirstLevel, labels: Labels, folds: np.ndarray
) -> list[tuple[str, int]]:
    """Find models that seem to have been trained on a fold that they should not have seen.

    A checkpoint of another fold, copied to the wrong place, knows the labels of the fold that
    it predicts. Its loss there is compared with its median loss on the other folds, times
    how much harder or easier that fold is for the other models; less than half is reported.

    Args:
        features: N slices.
        labels: ``(N, 6)`` zeros and ones.
        folds: ``(N,)`` fold of the slice.

    Returns:
        Models and folds, each of which is also logged as a warning.
    """
    numbers = np.unique(folds)
    losses = np.array(
        [
            [
                weighted_log_loss(labels[folds == fold], features.predictions[folds == fold, place])
                for fold in numbers
            ]
            for place in range(len(features.models))
        ]
    )
    usual = np.array(
        [np.median(np.delete(losses, place, axis=1), axis=1) for place in range(len(numbers))]
    ).T
    ratio = losses / np.maximum(usual, 1e-12)
    found = []
    for model, fold in np.ndindex(*losses.shape):
        others = np.delete(ratio[:, fold], model)
        expected = usual[model, fold] * (np.median(others) if len(others) else 1.0)
        if losses[model, fold] < _SHARE * expected:
            found.append((features.models[model], int(numbers[fold])))
            logger.warning(
                "First-level model %s has a loss of %.4f on fold %d where %.4f was to be "
                "expected: it looks as if it had been trained on that fold. Check that "
                "checkpoint and prediction belong to it; all scores with it are too good.",
                *(found[-1][0], losses[model, fold], found[-1][1], expected),
            )
    return found
