"""Test-time augmentations (TTA) by name. See docs/reference.md#prediction.

This module holds only data; ``networks.tta_input`` applies the augmentations.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """A test-time augmentation; it does not change the labels.

    Attributes:
        name: As in the recipe's ``variants`` and the tables' ``tta`` column.
        flip_horizontal: Mirror left and right.
        flip_vertical: Mirror front and back.
        quarter_turns: Counter-clockwise turns by 90 degrees.
        rotate_deg: Counter-clockwise rotation by this angle.
        random_crop: Crop at a position drawn once per study instead of the centre.
        random_rotate_deg: Rotation drawn once per study, up to this angle in either direction.
        random_shift: Shift drawn once per study, up to this share of the side along each axis.
        random_scale: Relative change of size drawn once per study, up to this share.
    """

    name: str
    flip_horizontal: bool = False
    flip_vertical: bool = False
    quarter_turns: int = 0
    rotate_deg: float = 0.0
    random_crop: bool = False
    random_rotate_deg: float = 0.0
    random_shift: float = 0.0
    random_scale: float = 0.0

    @property
    def resamples(self) -> bool:
        """Whether pixels are interpolated; flips and quarter turns only reorder them."""
        drawn = (self.random_rotate_deg, self.random_shift, self.random_scale)
        return bool(self.rotate_deg or self.random_crop or any(drawn))


def _rotated(name: str, angle_deg: float, flip: bool) -> Variant:
    return Variant(name, flip_horizontal=flip, rotate_deg=angle_deg, random_crop=True)


def _jittered(name: str, flip: bool) -> Variant:
    return Variant(
        name, flip_horizontal=flip, random_rotate_deg=15, random_shift=0.1, random_scale=0.05
    )


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        # Planes family.
        Variant("normal"),
        Variant("flip_horizontal", flip_horizontal=True),
        Variant("flip_vertical", flip_vertical=True),
        Variant("rot90", quarter_turns=1),
        # 3x3 models.
        _rotated("rotate_plus15", 15, False),
        _rotated("rotate_plus15_flip", 15, True),
        _rotated("rotate_minus15", -15, False),
        _rotated("rotate_minus15_flip", -15, True),
        # 7c model: two random draws, each with and without a flip.
        _jittered("random_1", False),
        _jittered("random_1_flip", True),
        _jittered("random_2", False),
        _jittered("random_2_flip", True),
    )
}
"""All test-time augmentations by name."""
