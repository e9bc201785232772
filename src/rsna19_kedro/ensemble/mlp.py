"""A network with one hidden layer on the logits of the window (docs/reference.md#second-level)."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble.candidate import Labels
from rsna19_kedro.ensemble.features import Windows, feature_names
from rsna19_kedro.ensemble.items import Slices
from rsna19_kedro.ensemble.level1 import FirstLevel
from rsna19_kedro.ensemble.network_candidate import NetworkCandidate
from rsna19_kedro.ensemble.settings import NetworkSettings, WindowOptions

if TYPE_CHECKING:
    from torch import nn


class MLPSettings(NetworkSettings):
    """Input, width and training settings of the MLP.

    Attributes:
        kind: Always mlp.
        features: Window of slices (reference: logits of 5 slices).
        width: Hidden units (reference: 128).
        batch: Slices per step (reference: all of them).
        learning_rate: Reference: 0.008.
    """

    kind: Literal["mlp"] = "mlp"
    features: WindowOptions = WindowOptions(scale="logit")
    width: int = Field(128, ge=1)
    batch: int = Field(4096, ge=1)
    learning_rate: float = Field(0.008, gt=0)


@dataclass
class MLPCandidate(NetworkCandidate):
    """An MLP that predicts each slice from the logits of its neighbourhood."""

    settings: MLPSettings = field(default_factory=MLPSettings)

    def items(self, features: FirstLevel) -> Slices:
        """Return the slices with their features."""
        return Slices(np.arange(len(features)), Windows(features, self.settings.features))

    def network(self) -> "nn.Module":
        """Build the MLP: standardisation, one hidden ReLU layer, six logits."""
        from torch import nn

        from rsna19_kedro.ensemble.network_fit import Standardise

        inputs = len(feature_names(self.models, self.settings.features))
        return nn.Sequential(
            Standardise(inputs),
            nn.Linear(inputs, self.settings.width),
            nn.ReLU(),
            nn.Dropout(self.settings.dropout),
            nn.Linear(self.settings.width, len(CLASSES)),
        )

    def begin(self, network: Any, labels: Labels) -> None:
        """Initialise the output bias with the prevalences."""
        import torch

        share = np.clip(labels.mean(axis=0), 1e-4, 1 - 1e-4)
        network[-1].bias.data.copy_(torch.from_numpy(np.log(share / (1 - share))))
