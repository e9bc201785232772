"""A network over the whole study, with all models' logits as input."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from rsna19_kedro.ensemble.candidate import Labels
from rsna19_kedro.ensemble.features import feature_names, to_logits, window_features
from rsna19_kedro.ensemble.level1 import FirstLevel, Ints
from rsna19_kedro.ensemble.mlp import standardise
from rsna19_kedro.ensemble.network_candidate import NetworkCandidate
from rsna19_kedro.ensemble.network_fit import Batch, Items
from rsna19_kedro.ensemble.sequence_network import SequenceNetwork
from rsna19_kedro.ensemble.settings import SequenceSettings


@dataclass(frozen=True)
class Studies:
    """Each study is an item.

    Attributes:
        features: ``(N, F)``, studies one after the other, slices from feet to head.
        mean_logits: ``(N, 6)``, in the same order.
        rows: ``(N,)`` where these slices stood in the data.
        starts: ``(studies + 1,)`` where each study starts, and the end.
    """

    features: Tensor
    mean_logits: Tensor
    rows: Ints
    starts: Ints
    directions: tuple[bool, ...] = (False, True)
    at_once: int = 512

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def first_rows(self) -> Ints:
        """Row of a slice of each study."""
        return self.rows[self.starts[:-1]]

    def batch(self, places: Ints, reverse: bool) -> Batch:
        """Pad some studies to the longest of them."""
        spans = [np.arange(self.starts[place], self.starts[place + 1]) for place in places]
        ordered = [torch.from_numpy(span[::-1].copy() if reverse else span) for span in spans]
        features = pad_sequence([self.features[span] for span in ordered], batch_first=True)
        means = pad_sequence([self.mean_logits[span] for span in ordered], batch_first=True)
        lengths = torch.tensor([len(span) for span in ordered])
        rows = torch.from_numpy(self.rows[torch.cat(ordered).numpy()])
        return Batch((features, means, lengths), rows)


@dataclass
class SequenceCandidate(NetworkCandidate):
    """Reads each study in both directions; the order of its slices is that of their numbers.

    Read from head to feet as well, in training at random and in prediction as a test-time
    variant whose probabilities are averaged with the others.
    """

    kind: ClassVar[str] = "sequence"
    settings: SequenceSettings = field(default_factory=SequenceSettings)

    def items(self, features: FirstLevel) -> Items:
        """Studies, whatever the order of the rows."""
        order = np.lexsort((features.slice_num, features.study))
        studies = features.study[order]
        starts = np.flatnonzero(np.diff(studies, prepend=studies[:1] - 1))
        mean = features.predictions.mean(axis=1, dtype=np.float64).astype(np.float32)
        return Studies(
            torch.from_numpy(window_features(features, self.settings.features)[order]),
            torch.from_numpy(to_logits(mean)[order]),
            order,
            np.append(starts, len(order)).astype(np.int64),
        )

    def network(self) -> SequenceNetwork:
        """A network of the settings' shape."""
        chosen = self.settings
        width = len(feature_names(self.models, chosen.features))
        return SequenceNetwork(width, chosen.body, chosen.width, chosen.layers, chosen.dropout)

    def begin(self, network: nn.Module, items: Any, learned: Ints, labels: Labels) -> None:
        """Standardise the features by the slices that are learned from."""
        standardise(network, items.features[np.isin(items.rows, learned)])

    @staticmethod
    def read_settings(content: dict[str, Any]) -> SequenceSettings:
        """The settings that ``save`` wrote."""
        return SequenceSettings(**content)
