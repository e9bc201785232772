"""A sequence network over the whole study, with all models' logits as input."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field, field_validator

from rsna19_kedro.ensemble.features import Windows, feature_names, to_logits
from rsna19_kedro.ensemble.items import Batch, Slices
from rsna19_kedro.ensemble.level1 import FirstLevel, Floats32, Ints
from rsna19_kedro.ensemble.network_candidate import NetworkCandidate
from rsna19_kedro.ensemble.settings import NetworkSettings, WindowOptions

if TYPE_CHECKING:
    from torch import nn


class SequenceSettings(NetworkSettings):
    """Input, architecture and training settings of the sequence network.

    Attributes:
        kind: Always sequence.
        features: Features of each slice; the network itself reads the neighbours.
        body: ``gru`` or ``transformer``.
        width: Hidden units per direction; a multiple of 4.
        layers: Layers of the body.
        least_steps: Minimum number of steps; more overfit a small data set.
        learning_rate: Peak of the one-cycle learning rate schedule.
    """

    kind: Literal["sequence"] = "sequence"
    features: WindowOptions = WindowOptions(radius=0, scale="logit", position=True)
    body: Literal["gru", "transformer"] = "gru"
    width: int = Field(32, ge=4)
    layers: int = Field(1, ge=1)
    least_steps: int = Field(100, ge=1)
    learning_rate: float = Field(0.003, gt=0)

    @field_validator("width")
    @classmethod
    def _has_heads(cls, width: int) -> int:
        if width % 4:
            raise ValueError(f"width {width} is not a multiple of 4 (number of transformer heads)")
        return width


@dataclass(frozen=True)
class Studies(Slices):
    """Studies as items; slices are ordered by study, from feet to head.

    Attributes:
        features: ``(N, F)``, in the same order.
        mean_logits: ``(N, 6)``, in the same order.
        starts: ``(studies + 1,)`` start index of each study, and the end.
    """

    features: Floats32
    mean_logits: Floats32
    starts: Ints
    directions: ClassVar[tuple[bool, ...]] = (False, True)
    at_once: ClassVar[int] = 512

    @property
    def first_rows(self) -> Ints:
        """Row of the first slice of each study."""
        return self.rows[self.starts[:-1]]

    def batch(self, indices: Ints, reverse: bool) -> Batch:
        """Make a batch of some studies, padded with zeros to the longest."""
        first, last = self.starts[indices][:, None], self.starts[indices + 1][:, None] - 1
        step = np.arange((last - first).max() + 1)
        exists = step <= last - first
        row = np.where(exists, last - step if reverse else first + step, 0)
        features, means = (
            np.where(exists[..., None], values[row], np.float32(0))
            for values in (self.features, self.mean_logits)
        )
        return Batch((features, means, exists.sum(axis=1)), self.rows[row[exists]])


@dataclass
class SequenceCandidate(NetworkCandidate):
    """A sequence network that reads each study in order of slice number.

    Studies are also read in reverse, from head to feet: at random in training, and as a
    test-time augmentation in prediction.
    """

    settings: SequenceSettings = field(default_factory=SequenceSettings)

    def items(self, features: FirstLevel) -> Studies:
        """Return the studies; rows may be in any order."""
        order = np.lexsort((features.slice_num, features.study))
        studies = features.study[order]
        starts = np.flatnonzero(np.diff(studies, prepend=studies[:1] - 1))
        mean = features.predictions.mean(axis=1, dtype=np.float64).astype(np.float32)
        windows = Windows(features, self.settings.features)
        return Studies(
            order,
            windows,
            windows.rows(order),
            to_logits(mean)[order],
            np.append(starts, len(order)).astype(np.int64),
        )

    def network(self) -> "nn.Module":
        """Build the network of the settings."""
        from rsna19_kedro.ensemble.sequence_network import SequenceNetwork

        chosen = self.settings
        width = len(feature_names(self.models, chosen.features))
        return SequenceNetwork(width, chosen.body, chosen.width, chosen.layers, chosen.dropout)
