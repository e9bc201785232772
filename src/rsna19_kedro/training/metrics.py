"""What a validation reports, per class."""

import warnings
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MultilabelAccuracy,
    MultilabelAUROC,
    MultilabelF1Score,
    MultilabelRecall,
    MultilabelSpecificity,
)

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.networks.loss import class_weights

_EPS = 1e-6


class ValidationMetrics:
    """Collects logits and labels of a validation and gives one flat row of numbers."""

    def __init__(self) -> None:
        options: dict[str, Any] = {
            "num_labels": len(CLASSES),
            "average": None,
            "validate_args": False,  # The checks cost more than the sums.
        }
        self._metrics = MetricCollection(
            {
                "accuracy": MultilabelAccuracy(**options),
                "f1": MultilabelF1Score(**options),
                "sensitivity": MultilabelRecall(**options),
                "specificity": MultilabelSpecificity(**options),
                "auc": MultilabelAUROC(**options),
            },
            compute_groups=False,
        )
        self._logits: list[Tensor] = []
        self._labels: list[Tensor] = []

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add ``(n, 6)`` logits and labels."""
        self._logits.append(logits.float().cpu())
        self._labels.append(labels.cpu())

    def compute(self) -> dict[str, float]:
        """Give ``val_loss`` and ``val_<metric>_<class>``, thresholds at 0.5, and start anew.

        The AUC of a class with positives or negatives only is NaN.
        """
        logits, labels = _of_all_devices(torch.cat(self._logits), torch.cat(self._labels))
        self._logits, self._labels = [], []
        probabilities = torch.sigmoid(logits)
        clipped = probabilities.clamp(_EPS, 1 - _EPS)
        losses = torch.nn.functional.binary_cross_entropy(clipped, labels, reduction="none").mean(0)
        row = {"val_loss": float(losses @ class_weights())}
        row |= {f"val_loss_{name}": float(loss) for name, loss in zip(CLASSES, losses, strict=True)}
        positives = labels.sum(0)
        undefined = (positives == 0) | (positives == len(labels))
        with warnings.catch_warnings():  # About classes without positives: they become NaN below.
            warnings.filterwarnings("ignore", module="torchmetrics")
            metrics = self._metrics(probabilities, labels.int())
        for metric, values in metrics.items():
            for name, value, no_auc in zip(CLASSES, values, undefined, strict=True):
                known = metric != "auc" or not bool(no_auc)
                row[f"val_{metric}_{name}"] = float(value) if known else float("nan")
        self._metrics.reset()
        return row


def _of_all_devices(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The predictions of every device, if several share the validation fold."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return logits, labels
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, (logits, labels))
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
