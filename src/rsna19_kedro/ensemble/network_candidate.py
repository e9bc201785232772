"""What the second level's networks have in common as candidates."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble.candidate import (
    Floats,
    Groups,
    Labels,
    constant_classes,
    read_description,
    write_description,
)
from rsna19_kedro.ensemble.level1 import FirstLevel, Ints
from rsna19_kedro.ensemble.network_fit import Items, fit_network, predict_network
from rsna19_kedro.ensemble.settings import NetworkSettings
from rsna19_kedro.ensemble.splits import held_out_parts


@dataclass
class NetworkCandidate(ABC):
    """One network, or the mean of several that each left out other patients.

    Attributes:
        settings: What it sees and how it is trained.
        seed: Of the inner parts, the first weights, the batches.
        models: First-level models, once fitted.
        constants: ``(6,)`` what is predicted for a class that could not be learned, else NaN.
        networks: The members, once fitted.
    """

    kind: ClassVar[str]
    settings: Any
    seed: int = 0
    models: tuple[str, ...] = ()
    constants: Floats = field(default_factory=lambda: np.full(len(CLASSES), np.nan))
    networks: tuple[nn.Module, ...] = ()

    @abstractmethod
    def items(self, features: FirstLevel) -> Items:
        """Slices or studies as the network takes them."""

    @abstractmethod
    def network(self) -> nn.Module:
        """A network for the models of the candidate, with weights drawn at random."""

    @abstractmethod
    def begin(self, network: nn.Module, items: Any, learned: Ints, labels: Labels) -> None:
        """Take from the data what is not learned by steps.

        Args:
            network: Changed in place.
            items: All of them.
            learned: Rows that are learned from.
            labels: ``(N, 6)`` of all rows.
        """

    def fit(self, features: FirstLevel, labels: Labels, groups: Groups) -> None:
        """Train the members, each stopped on patients of its own."""
        settings: NetworkSettings = self.settings
        self.models = features.models
        self.constants = constant_classes(labels, self.kind)
        items = self.items(features)
        parts = held_out_parts(groups, settings.inner_folds, self.seed, self.kind)
        networks = []
        for number, held_out in zip(range(settings.members), parts, strict=False):
            seed = self.seed + 1000 * number
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                network = self.network()
            self.begin(network, items, np.flatnonzero(~held_out), labels)
            left = held_out[items.first_rows]
            fit_network(
                network,
                items,
                np.asarray(labels),
                np.flatnonzero(~left),
                np.flatnonzero(left),
                settings,
                seed,
            )
            networks.append(network)
        self.networks = tuple(networks)

    def predict(self, features: FirstLevel) -> Floats:
        """Mean of the members and of the directions that they read in, ``(N, 6)``."""
        items = self.items(features.ordered(self.models))
        chances = [
            predict_network(network, items, len(features), reverse)
            for network in self.networks
            for reverse in items.directions
        ]
        return np.where(np.isnan(self.constants), np.mean(chances, axis=0), self.constants)

    def save(self, folder: Path) -> None:
        """Write ``candidate.json`` and the weights of each member (safetensors)."""
        content = {
            "settings": self.settings.model_dump(),
            "seed": self.seed,
            "models": self.models,
            "constants": [None if np.isnan(c) else float(c) for c in self.constants],
            "members": len(self.networks),
        }
        write_description(folder, self.kind, content)
        for number, network in enumerate(self.networks):
            save_file(network.state_dict(), folder / _file_name(number))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what ``save`` wrote."""
        content = read_description(folder)
        constants = np.array(content["constants"], dtype=np.float64)
        settings = cls.read_settings(content["settings"])
        candidate = cls(settings, content["seed"], tuple(content["models"]), constants)
        networks = []
        for number in range(content["members"]):
            network = candidate.network()
            network.load_state_dict(load_file(folder / _file_name(number)))
            networks.append(network.eval())
        candidate.networks = tuple(networks)
        return candidate

    @staticmethod
    @abstractmethod
    def read_settings(content: dict[str, Any]) -> NetworkSettings:
        """The settings that ``save`` wrote."""


def _file_name(number: int) -> str:
    return f"member_{number}.safetensors"
