"""Validation metrics per class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.evaluation.metrics import CLASS_WEIGHT_SHARES, class_metrics

_NAMES = {
    "log_loss": "loss",
    "accuracy": "accuracy",
    "f1": "f1",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "roc_auc": "auc",
}


def validation_metrics(logits: Sequence[Tensor], labels: Sequence[Tensor]) -> dict[str, float]:
    """Return metrics of the validation fold, whose studies may be spread over several devices.

    Args:
        logits: ``(n, 6)`` per study that this process predicted.
        labels: ``(n, 6)`` zeros and ones per study.

    Returns:
        ``val_loss``, weighted as in the challenge, and ``val_<metric>_<class>``, at a threshold
        of 0.5. Undefined values (the AUC of a class with only positives) are NaN.
    """
    probabilities, truth = _gather(
        torch.sigmoid(torch.cat([part.float().cpu() for part in logits])).numpy(),
        torch.cat([part.cpu() for part in labels]).numpy(),
    )
    metrics = class_metrics(truth, probabilities)
    row = {"val_loss": float(metrics["log_loss"] @ CLASS_WEIGHT_SHARES)}
    for metric, name in _NAMES.items():
        values = zip(CLASSES, metrics[metric], strict=True)
        row |= {f"val_{name}_{label}": float(value) for label, value in values}
    return row


def _gather(*arrays: Any) -> Any:
    """Concatenate each array with those of the other devices."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return arrays
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, arrays)
    return [np.concatenate(same) for same in zip(*parts, strict=True)]
