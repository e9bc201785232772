"""Augmentation of training samples and their masks."""

import torch
from torch import Tensor, nn

from rsna19_kedro.networks.input_size import InputSize
from rsna19_kedro.networks.network_input import Draws, sampling_matrices
from rsna19_kedro.networks.segmentation_network import MASK_CLASSES, MASK_STRIDE
from rsna19_kedro.training.recipe import Augmentation


def draw(
    count: int,
    recipe: Augmentation,
    crop: InputSize,
    side_px: int,
    generator: torch.Generator,
    *,
    single_slice: bool = False,
) -> Draws:
    """Draw the augmentation parameters of ``count`` samples.

    Args:
        count: N.
        recipe: Probabilities and ranges.
        crop: Input size; ``random_crop`` adds a shift by up to the margin of the central crop.
        side_px: Side of the prepared slices, in pixels.
        generator: On the CPU, so that every device sees the same draws.
        single_slice: Whether the samples are single slices rather than windows.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    def happens(probability: float, *shape: int) -> Tensor:
        return uniform(*shape) < probability

    turns = torch.randint(0, 4, (count,), generator=generator) * happens(
        recipe.quarter_turns, count
    )
    affine = happens(recipe.affine_probability(single_slice), count).float()
    angle = (2 * uniform(count) - 1) * recipe.rotate_deg * affine
    scale = 1 + (2 * uniform(count) - 1) * recipe.scale * affine
    shift = (2 * uniform(count, 2) - 1) * recipe.shift * affine[:, None]
    max_offset = (side_px - crop.crop_px) / 2 / side_px if crop.random_crop else 0.0
    shift = shift + (2 * uniform(count, 2) - 1) * max_offset
    odds = torch.tensor([recipe.flip_horizontal, recipe.flip_vertical])
    mirrored = uniform(count, 2) < odds
    # Always drawn, so that the other draws do not depend on the recipe.
    which = torch.randint(0, 3, (count,), generator=generator)
    either = torch.stack([which != 1, which != 0], dim=1)
    mirrored ^= either & happens(recipe.flip_either, count)[:, None]
    flip = 1.0 - 2.0 * mirrored.float()
    return Draws(angle + 90.0 * turns, scale, shift, flip)


@torch.autocast("cuda", enabled=False)
@torch.autocast("cpu", enabled=False)
def mask_targets(masks: Tensor, draws: Draws, crop: InputSize) -> Tensor:
    """Augment masks like their slices, and reduce them to the decoder's resolution.

    Masks are resampled by nearest neighbour. A target pixel has a class if any of the pixels
    that it covers has it.

    Args:
        masks: ``(N, H, W)`` int8: 0 no blood, 1..5 the types, 6 unclassified; -1 on slices
            without a mask.
        draws: Augmentation parameters of the N samples.
        crop: See ``networks.network_input.resample``.

    Returns:
        ``(N, 7, side / 4, side / 4)`` float32 in 0..1: types, unclassified, any.
    """
    matrices = sampling_matrices(draws, crop.crop_px / masks.shape[-1]).to(masks.device)
    shape = [len(masks), 1, crop.crop_px, crop.crop_px]
    grid = nn.functional.affine_grid(matrices, shape, align_corners=False)
    image = masks.clamp(min=0).to(matrices)[:, None]
    values = nn.functional.grid_sample(image, grid, mode="nearest", align_corners=False)
    side = crop.network_px // MASK_STRIDE
    targets = image.new_zeros(len(masks), MASK_CLASSES, side, side)
    for value in values.unique().tolist():  # A batch contains few of the types.
        if value:
            plane = (values[:, 0] == value).to(values)
            targets[:, int(value) - 1] = nn.functional.max_pool2d(plane, crop.crop_px // side)
    targets[:, -1] = targets[:, :-1].amax(dim=1)
    return targets
