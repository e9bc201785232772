"""Items of a batch for second-level networks: slices or whole studies."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy.typing as npt

from rsna19_kedro.ensemble.level1 import Floats32, Ints


class Batch(NamedTuple):
    """Input of a network.

    Attributes:
        inputs: Arguments of the network.
        rows: ``(n,)`` rows of the slices whose logits ``(n, 6)`` it returns, in the same order.
    """

    inputs: tuple[npt.NDArray[Any], ...]
    rows: Ints


@dataclass(frozen=True)
class Slices:
    """Slices as items.

    Attributes:
        features: ``(N, F)``.
        rows: ``(N,)`` rows of these slices in the data.
        directions: Values of ``reverse`` that predictions are averaged over.
        at_once: Items per prediction batch.
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

    def batch(self, indices: Ints, reverse: bool) -> Batch:
        """Make a batch of some items; ``reverse`` has no effect on single slices."""
        return Batch((self.features[indices],), self.rows[indices])
