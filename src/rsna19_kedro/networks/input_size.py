"""Size of the network's input; imports no torch, so that parameters can name it."""

from pydantic import PositiveInt, model_validator

from rsna19_kedro.strict import Strict


class InputSize(Strict):
    """What the network sees of a prepared slice.

    Attributes:
        crop_px: Side of the square cut out of the slice, in pixels.
        random_crop: Whether training cuts it at random; else, and always in prediction, it
            is the centre.
        resize_px: Side that the square is reduced to by averaging; ``None`` keeps its size.
    """

    crop_px: PositiveInt
    random_crop: bool = False
    resize_px: PositiveInt | None = None

    @model_validator(mode="after")
    def _divides(self) -> "InputSize":
        if self.resize_px is not None and self.crop_px % self.resize_px:
            raise ValueError(
                f"resize_px {self.resize_px} does not divide crop_px {self.crop_px}: slices are "
                "reduced by a whole factor"
            )
        return self

    @property
    def network_px(self) -> int:
        """Side of the network's input, in pixels."""
        return self.resize_px or self.crop_px
