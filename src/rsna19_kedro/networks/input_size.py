"""Size of the network's input. Imports no torch, so that parameters load quickly."""

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from rsna19_kedro.strict import Strict

Windows = tuple[tuple[float, PositiveFloat], ...]
"""Centre and width of each window, in HU."""


class InputSize(Strict):
    """Part of a prepared slice that is the network's input, and how its HU are shown.

    Attributes:
        crop_px: Side of the square cut out of the slice, in pixels.
        random_crop: Whether training crops at a random position; otherwise, and always in
            prediction, the crop is central.
        resize_px: Side after reduction by averaging; ``None`` for no reduction.
        windows: Windows whose values in [-1, 1] are the channels of a slice; ``None`` for one
            channel by the look-up table.
    """

    crop_px: PositiveInt
    random_crop: bool = False
    resize_px: PositiveInt | None = None
    windows: Annotated[Windows, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _check_divisible(self) -> "InputSize":
        if self.resize_px is not None and self.crop_px % self.resize_px:
            raise ValueError(
                f"resize_px {self.resize_px} does not divide crop_px {self.crop_px}: the "
                "reduction factor must be an integer"
            )
        return self

    @property
    def network_px(self) -> int:
        """Side of the network's input, in pixels."""
        return self.resize_px or self.crop_px
