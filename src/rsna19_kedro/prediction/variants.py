"""Test-time variants: the same slices seen another way. Reference, section 5."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Variant:
    """A named change of the input that leaves the labels as they are.

    Attributes:
        name: As in the recipe's ``variants`` and the tables' ``tta`` column.
        apply: Takes and gives ``(..., H, W)``.
    """

    name: str
    apply: "Callable[[Tensor], Tensor]"


def _same(slices: "Tensor") -> "Tensor":
    return slices


def _flip_horizontal(slices: "Tensor") -> "Tensor":
    return slices.flip(-1)


def _flip_vertical(slices: "Tensor") -> "Tensor":
    return slices.flip(-2)


def _rot90(slices: "Tensor") -> "Tensor":
    return slices.rot90(1, (-2, -1))


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("normal", _same),
        Variant("flip_horizontal", _flip_horizontal),
        Variant("flip_vertical", _flip_vertical),
        Variant("rot90", _rot90),
    )
}
"""All variants by name; ``rot90`` turns by 90 degrees counter-clockwise."""
