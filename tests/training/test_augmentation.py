"""The fused resampling against separate steps by torchvision."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as tv

from rsna19_kedro.networks.input_size import InputSize
from rsna19_kedro.networks.network_input import Draws, apply_lut, look_up, network_input, resample
from rsna19_kedro.training.augmentation import draw, mask_targets
from rsna19_kedro.training.recipe import Augmentation

LUT = torch.linspace(-1, 1, 1401)
SIDE = 64


def augmented_input(
    hu: torch.Tensor, lut: torch.Tensor, draws: Draws, border: str, size: InputSize
) -> torch.Tensor:
    """Augmented network input as in a training step."""
    return resample(look_up(hu, lut, size), float(lut[0]), draws, border, size)


def _draws(angle=0.0, scale=1.0, shift=(0.0, 0.0), flip=(1.0, 1.0)) -> Draws:
    return Draws(
        torch.tensor([angle]), torch.tensor([scale]), torch.tensor([shift]), torch.tensor([flip])
    )


def _smooth_hu() -> torch.Tensor:
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    hu = 600 * np.sin(5 * x + 1) * np.cos(4 * y) + 300 * x - 100 * y
    return torch.from_numpy(hu.astype(np.int16))[None, None]


def test_lut_clips_at_both_ends() -> None:
    hu = torch.tensor([-2000, -400, 0, 1000, 3000], dtype=torch.int16)
    assert apply_lut(hu, LUT).tolist() == pytest.approx([-1, -1, LUT[400].item(), 1, 1])


def test_without_changes_the_input_is_unaugmented() -> None:
    hu = _smooth_hu()
    size = InputSize(crop_px=48)
    plain = network_input(hu, LUT, size)
    assert torch.allclose(augmented_input(hu, LUT, _draws(), "edge", size), plain, atol=1e-5)


def test_without_changes_the_reduced_input_is_unaugmented() -> None:
    hu = _smooth_hu()
    size = InputSize(crop_px=48, resize_px=12)
    plain = network_input(hu, LUT, size)
    assert torch.allclose(augmented_input(hu, LUT, _draws(), "edge", size), plain, atol=1e-5)


@pytest.mark.parametrize("flip", [(-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)])
def test_flips_are_exact(flip: tuple[float, float]) -> None:
    hu = _smooth_hu()
    got = augmented_input(hu, LUT, _draws(flip=flip), "edge", InputSize(crop_px=SIDE))
    axes = [axis for axis, sign in zip((-1, -2), flip, strict=True) if sign < 0]
    assert torch.allclose(got, apply_lut(hu, LUT).flip(axes), atol=1e-5)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_exact(turns: int) -> None:
    hu = _smooth_hu()
    got = augmented_input(hu, LUT, _draws(angle=90.0 * turns), "edge", InputSize(crop_px=SIDE))
    assert torch.allclose(got, apply_lut(hu, LUT).rot90(turns, (-2, -1)), atol=1e-4)


def test_fused_steps_equal_torchvision_step_by_step() -> None:
    hu = _smooth_hu()
    draws = _draws(angle=20.0, scale=1.1, shift=(4 / SIDE, -2 / SIDE), flip=(-1.0, 1.0))
    got = augmented_input(hu, LUT, draws, "edge", InputSize(crop_px=40))
    image = tv.horizontal_flip(apply_lut(hu, LUT))
    image = tv.affine(
        image,
        angle=-20.0,  # torchvision turns clockwise.
        translate=[4, -2],
        scale=1.1,
        shear=[0.0, 0.0],
        interpolation=tv.InterpolationMode.BILINEAR,
    )
    expected = tv.center_crop(image, [40, 40])
    assert (got - expected).abs().max() < 0.01


def test_borders_are_edge_or_air() -> None:
    hu = torch.full((1, 1, SIDE, SIDE), 500, dtype=torch.int16)
    far = _draws(shift=(0.5, 0.0))
    air = augmented_input(hu, LUT, far, "air", InputSize(crop_px=SIDE))
    edge = augmented_input(hu, LUT, far, "edge", InputSize(crop_px=SIDE))
    assert air[0, 0, :, 0].max() == pytest.approx(-1.0)
    assert edge.min() == pytest.approx(LUT[900].item())


def test_draws_stay_in_their_ranges_and_repeat_with_the_same_seed() -> None:
    recipe = Augmentation(
        flip_horizontal=0.5, quarter_turns=0.5, affine=0.8, shift=0.0625, scale=0.05, rotate_deg=30
    )
    size = InputSize(crop_px=384, random_crop=True)
    a, b = (draw(4000, recipe, size, 400, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(a.angle_deg, b.angle_deg)
    rotation = torch.remainder(a.angle_deg + 45, 90) - 45
    assert rotation.abs().max() <= 30
    assert 0.94 < a.scale.min() < a.scale.max() < 1.06
    assert a.shift.abs().max() <= 0.0625 + 8 / 400
    assert (a.flip[:, 1] == 1).all()
    assert math.isclose((a.flip[:, 0] < 0).float().mean(), 0.5, abs_tol=0.05)
    assert math.isclose((a.scale == 1).float().mean(), 0.2, abs_tol=0.03)


@pytest.mark.parametrize("resize", [None, 16])
def test_masks_follow_their_slice(resize: int | None) -> None:
    """Blood is where the slice is bright, after any change and at any reduction."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    square = (abs(y - 20) < 7) & (abs(x - 38) < 9)
    hu = torch.from_numpy(np.where(square, 1000, -400).astype(np.int16))[None, None]
    mask = torch.from_numpy(np.where(square, 5, 0).astype(np.int8))[None]
    size = InputSize(crop_px=48, resize_px=resize)
    draws = _draws(angle=110.0, scale=1.1, shift=(4 / SIDE, 2 / SIDE), flip=(-1.0, 1.0))
    image = augmented_input(hu, LUT, draws, "air", size)
    targets = mask_targets(mask, draws, size)
    side = (resize or 48) // 4
    assert targets.shape == (1, 7, side, side)
    assert targets[0, [0, 1, 2, 3, 5]].sum() == 0  # Value 5 is subdural, and any.
    assert torch.equal(targets[0, 4], targets[0, 6])
    bright = torch.nn.functional.max_pool2d(image[:, 0], 4)[0] > 0
    differ = (bright != (targets[0, 6] > 0)).sum()
    assert targets[0, 6].sum() >= (4 if resize else 9)
    assert differ <= (2 if resize else 6)  # Interpolated pixels at the edge.


def test_unclassified_blood_counts_as_any_and_a_missing_mask_is_empty() -> None:
    mask = torch.zeros(2, SIDE, SIDE, dtype=torch.int8)
    mask[0, 30:34, 30:34] = 6
    mask[1] = -1
    draws = Draws(*(torch.cat([getattr(_draws(), f)] * 2) for f in _draws().__dataclass_fields__))
    targets = mask_targets(mask, draws, InputSize(crop_px=SIDE))
    assert targets[0].sum(dim=(1, 2)).tolist() == [0, 0, 0, 0, 0, 4, 4]
    assert targets[1].sum() == 0


def test_half_precision_moves_no_pixel() -> None:
    hu, draws = _smooth_hu(), _draws(angle=20.0, scale=1.1, shift=(0.03, -0.02))
    mask = (hu[0] > 100).to(torch.int8)
    size = InputSize(crop_px=48)
    with torch.autocast("cpu", torch.bfloat16):
        image, targets = (
            augmented_input(hu, LUT, draws, "edge", size),
            mask_targets(mask, draws, size),
        )
    assert torch.equal(image, augmented_input(hu, LUT, draws, "edge", size))
    assert torch.equal(targets, mask_targets(mask, draws, size))


def test_flip_of_either_axis_or_both() -> None:
    recipe = Augmentation(flip_either=0.5)
    drawn = draw(6000, recipe, InputSize(crop_px=400), 400, torch.Generator().manual_seed(1)).flip
    share = {
        flip: float((drawn == torch.tensor(flip)).all(1).float().mean())
        for flip in ((1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0))
    }
    assert share[1.0, 1.0] == pytest.approx(0.5, abs=0.03)
    assert all(share[flip] == pytest.approx(1 / 6, abs=0.02) for flip in list(share)[1:])
