"""Base class of second-level networks as candidates.

Torch takes seconds to import and parameters are read before pipelines are created. Therefore
this module and its subclasses' modules import torch inside functions.
"""

from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble.candidate import Candidate, Floats, Groups, Labels, constant_classes
from rsna19_kedro.ensemble.items import Slices
from rsna19_kedro.ensemble.level1 import FirstLevel
from rsna19_kedro.ensemble.settings import NetworkSettings
from rsna19_kedro.ensemble.splits import held_out_parts

if TYPE_CHECKING:
    from torch import nn


@dataclass
class NetworkCandidate(Candidate):
    """One network, or the mean of several networks with different held-out patients.

    Attributes:
        constants: ``(6,)`` constant prediction of classes that could not be learned, else NaN.
        networks: Fitted members.
    """

    is_network: ClassVar[bool] = True
    cost: ClassVar[float] = 0.5
    settings: NetworkSettings
    constants: Floats = field(default_factory=lambda: np.full(len(CLASSES), np.nan))
    networks: tuple["nn.Module", ...] = ()

    @abstractmethod
    def items(self, features: FirstLevel) -> Slices:
        """Return the slices or studies in the format of the network."""

    @abstractmethod
    def network(self) -> "nn.Module":
        """Build a network with random weights for the models of the candidate."""

    def begin(self, network: Any, labels: Labels) -> None:
        """Initialise the network from the training labels ``(n, 6)``; does nothing by default."""

    def fit(self, features: FirstLevel, labels: Labels, groups: Groups) -> None:
        """Train the members, each with early stopping on different patients."""
        import torch

        from rsna19_kedro.ensemble.network_fit import fit_network, standardise

        self.models = features.models
        self.constants = constant_classes(labels, self.kind)
        items = self.items(features)
        del features  # The items hold what is needed.
        parts = held_out_parts(groups, self.settings.inner_folds, self.seed, self.kind)
        networks = []
        for number, held_out in zip(range(self.settings.members), parts, strict=False):
            seed = self.seed + 1000 * number
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                network = self.network()
            standardise(network, items.columns(~held_out))
            self.begin(network, labels[~held_out])
            held_out_items = held_out[items.first_rows]
            fit_network(network, items, labels, held_out_items, self.settings, seed, self.stop)
            networks.append(network)
        self.networks = tuple(networks)

    def predict(self, features: FirstLevel) -> Floats:
        """Average the predictions over members and reading directions, ``(N, 6)``."""
        from rsna19_kedro.ensemble.network_fit import predict_network

        items = self.items(features.ordered(self.models))
        probabilities = [
            predict_network(network, items, reverse)
            for network in self.networks
            for reverse in items.directions
        ]
        return np.where(np.isnan(self.constants), np.mean(probabilities, axis=0), self.constants)

    def write_learned(self, folder: Path) -> dict[str, Any]:
        """Return constants as JSON; write the weights of each member as a safetensors file."""
        from safetensors.torch import save_file

        for number, network in enumerate(self.networks):
            save_file(network.state_dict(), folder / _file_name(number))
        constants = [None if np.isnan(c) else float(c) for c in self.constants]
        return {"constants": constants, "members": len(self.networks)}

    def read_learned(self, learned: dict[str, Any], folder: Path) -> None:
        """Restore constants, and networks from the safetensors files."""
        from safetensors.torch import load_file

        self.constants = np.array(learned["constants"], dtype=np.float64)
        self.networks = tuple(self.network().eval() for _ in range(learned["members"]))
        for number, network in enumerate(self.networks):
            network.load_state_dict(load_file(folder / _file_name(number)))


def _file_name(number: int) -> str:
    return f"member_{number}.safetensors"
