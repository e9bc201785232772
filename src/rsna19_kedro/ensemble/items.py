"""Items of a batch for second-level networks: slices or whole studies."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy.typing as npt

from rsna19_kedro.ensemble.features import Windows
from rsna19_kedro.ensemble.level1 import Bools, Floats32, Ints


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
        rows: ``(N,)`` rows of these slices in the data.
        windows: Their features.
        directions: Values of ``reverse`` that predictions are averaged over.
        at_once: Items per prediction batch.
    """

    rows: Ints
    windows: Windows
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
        rows = self.rows[indices]
        return Batch((self.windows.rows(rows),), rows)

    def columns(self, chosen: Bools) -> Iterable[Floats32]:
        """Features of some slices, in one or more blocks of columns ``(n, f)``.

        Args:
            chosen: ``(N,)`` mask by row of the data.
        """
        return self.windows.blocks(self.rows[chosen[self.rows]])
