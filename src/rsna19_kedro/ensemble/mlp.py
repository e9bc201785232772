"""A network with one hidden layer on the logits of the window (reference, section 6)."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble.candidate import Labels
from rsna19_kedro.ensemble.features import feature_names, window_features
from rsna19_kedro.ensemble.level1 import FirstLevel, Ints
from rsna19_kedro.ensemble.network_candidate import NetworkCandidate
from rsna19_kedro.ensemble.network_fit import Batch, Items
from rsna19_kedro.ensemble.settings import MLPSettings


class SliceNetwork(nn.Module):
    """Standardised features, one hidden layer of rectified units, six logits."""

    centre: Tensor
    spread: Tensor

    def __init__(self, features: int, width: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))
        self.hidden = nn.Linear(features, width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(width, len(CLASSES))

    def forward(self, features: Tensor) -> Tensor:
        """Logits ``(n, 6)`` of features ``(n, F)``."""
        hidden = torch.relu(self.hidden((features - self.centre) / self.spread))
        logits: Tensor = self.output(self.dropout(hidden))
        return logits


@dataclass(frozen=True)
class _Slices:
    """Each slice is an item; features ``(N, F)``."""

    features: Tensor
    directions: tuple[bool, ...] = (False,)
    at_once: int = 65536

    def __len__(self) -> int:
        return len(self.features)

    @property
    def first_rows(self) -> Ints:
        return np.arange(len(self.features))

    def batch(self, places: Ints, reverse: bool) -> Batch:
        rows = torch.from_numpy(places)
        return Batch((self.features[rows],), rows)


@dataclass
class MLPCandidate(NetworkCandidate):
    """Each slice judged by itself, from the logits of its neighbourhood."""

    kind: ClassVar[str] = "mlp"
    settings: MLPSettings = field(default_factory=MLPSettings)

    def items(self, features: FirstLevel) -> Items:
        """Slices with their windows."""
        return _Slices(torch.from_numpy(window_features(features, self.settings.features)))

    def network(self) -> SliceNetwork:
        """A network of the settings' width."""
        width = len(feature_names(self.models, self.settings.features))
        return SliceNetwork(width, self.settings.width, self.settings.dropout)

    def begin(self, network: nn.Module, items: Any, learned: Ints, labels: Labels) -> None:
        """Standardise the features, and predict the prevalence to start with."""
        assert isinstance(network, SliceNetwork)
        standardise(network, items.features[learned])
        share = np.clip(np.asarray(labels)[learned].mean(axis=0), 1e-4, 1 - 1e-4)
        with torch.no_grad():
            network.output.bias.copy_(torch.from_numpy(np.log(share / (1 - share))))

    @staticmethod
    def read_settings(content: dict[str, Any]) -> MLPSettings:
        """The settings that ``save`` wrote."""
        return MLPSettings(**content)


def standardise(network: Any, features: Tensor) -> None:
    """Set a network's ``centre`` and ``spread`` to those of features ``(n, F)``."""
    network.centre.copy_(features.mean(dim=0, dtype=torch.float64))
    network.spread.copy_(features.std(dim=0, correction=0) + 1e-3)
