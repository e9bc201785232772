"""Detection of first-level predictions that are too good to be out-of-fold."""

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
    """Find models that seem to have been trained on a fold that they predict out of fold.

    This happens if a checkpoint of another fold is copied to the wrong path. The loss on a
    fold is compared with the expected loss: the median loss on the other folds, scaled by the
    difficulty of the fold for the other models. Less than half of it is reported.

    Args:
        features: N slices.
        labels: ``(N, 6)`` zeros and ones.
        folds: ``(N,)`` fold of the slice.

    Returns:
        Models and folds, each also logged as a warning.
    """
    numbers = np.unique(folds)
    losses = np.array(
        [
            [
                weighted_log_loss(labels[folds == fold], features.predictions[folds == fold, index])
                for fold in numbers
            ]
            for index in range(len(features.models))
        ]
    )
    usual = np.array(
        [np.median(np.delete(losses, index, axis=1), axis=1) for index in range(len(numbers))]
    ).T
    ratio = losses / np.maximum(usual, 1e-12)
    suspicious = []
    for model, fold in np.ndindex(*losses.shape):
        others = np.delete(ratio[:, fold], model)
        expected = usual[model, fold] * (np.median(others) if len(others) else 1.0)
        if losses[model, fold] < _SHARE * expected:
            suspicious.append((features.models[model], int(numbers[fold])))
            logger.warning(
                "First-level model %s has a loss of %.4f on fold %d, expected about %.4f: it "
                "may have been trained on that fold. Check that checkpoint and prediction belong "
                "to the fold; otherwise all scores with this model are too good.",
                *(suspicious[-1][0], losses[model, fold], suspicious[-1][1], expected),
            )
    return suspicious
