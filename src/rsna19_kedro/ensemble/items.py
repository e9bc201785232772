"""What the second level's networks take as one item of a batch: a slice, or a whole study."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy.typing as npt

from rsna19_kedro.ensemble.level1 import Floats32, Ints


class Batch(NamedTuple):
    """Part of the data, as a network takes it.

    Attributes:
        inputs: What the network is called with.
        rows: ``(n,)`` slices whose logits ``(n, 6)`` it gives, in their order.
    """

    inputs: tuple[npt.NDArray[Any], ...]
    rows: Ints


@dataclass(frozen=True)
class Slices:
    """Each slice is an item.

    Attributes:
        features: ``(N, F)``.
        rows: ``(N,)`` rows of these slices in the data.
        directions: Whether items are predicted as they are, reversed, or both.
        at_once: Items per batch of a prediction.
    """

    features: Floats32
    rows: Ints
    directions: ClassVar[tuple[bool, ...]] = (False,)
    at_once: ClassVar[int] = 65536

    def __len__(self) -> int:
        return len(self.first_rows)

    @property
    def first_rows(self) -> Ints:
        """Row of the first slice of each item."""
        return self.rows

    def batch(self, places: Ints, reverse: bool) -> Batch:
        """Put some items, by their numbers, together; reversed if they have an order."""
        return Batch((self.features[places],), self.rows[places])
