"""The competition's loss: binary cross-entropy with a weight per class."""

import torch
from torch import Tensor

from rsna19_kedro.contracts import CLASS_WEIGHTS


def class_weights() -> Tensor:
    """Return the six class weights of the score, scaled to a sum of 1."""
    weights = torch.tensor(CLASS_WEIGHTS)
    return weights / weights.sum()


def training_weights() -> Tensor:
    """Return the six class weights of first-level training: 1/6, and 2/6 for ``any``.

    The loss is a mean over six columns, 7/6 of the score (docs/reference.md#losses). Mask
    weights and gradient clips of the recipes refer to it.
    """
    return torch.tensor(CLASS_WEIGHTS) / len(CLASS_WEIGHTS)


def weighted_bce(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Class-weighted binary cross-entropy, averaged over the labelled slices.

    Args:
        logits: ``(..., 6)``.
        labels: ``(..., 6)`` in 0..1, NaN for a slice without labels.
        weights: ``(6,)``, ``class_weights`` or ``training_weights``.
    """
    known = ~torch.isnan(labels[..., 0])
    losses = torch.nn.functional.binary_cross_entropy_with_logits(
        logits.to(labels.dtype), torch.nan_to_num(labels), reduction="none"
    )
    # Not a matrix product: autocast would compute it in half precision.
    return ((losses * weights).sum(-1) * known).sum() / known.sum().clamp(min=1)
