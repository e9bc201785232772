"""Look-up table, random changes and crop on the training device, as one resampling a batch."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rsna19_kedro.networks.segmentation_network import MASK_CLASSES, MASK_STRIDE
from rsna19_kedro.training.recipe import Augmentation, InputSize

LUT_MIN_HU = -400
LUT_MAX_HU = 1000


def apply_lut(hu: Tensor, lut: Tensor) -> Tensor:
    """Network input of HU.

    Args:
        hu: int16, any shape.
        lut: ``(1401,)`` float32, the values of HU -400..1000.

    Returns:
        float32 of the same shape; HU outside the table take its end values.
    """
    index = hu.int().clamp_(LUT_MIN_HU, LUT_MAX_HU).sub_(LUT_MIN_HU)
    return lut.index_select(0, index.flatten()).view(hu.shape)


def centre_crop(slices: Tensor, crop_px: int) -> Tensor:
    """The central square of ``(..., H, W)``; of an odd rest the smaller half is on top/left."""
    height, width = slices.shape[-2:]
    top, left = (height - crop_px) // 2, (width - crop_px) // 2
    return slices[..., top : top + crop_px, left : left + crop_px]


def reduce(slices: Tensor, side_px: int) -> Tensor:
    """Reduce ``(..., H, W)`` to a square of ``side_px`` by averaging over areas."""
    if slices.shape[-1] == side_px and slices.shape[-2] == side_px:
        return slices
    flat = slices.reshape(-1, 1, *slices.shape[-2:])
    small = nn.functional.interpolate(flat, size=(side_px, side_px), mode="area")
    return small.reshape(*slices.shape[:-2], side_px, side_px)


def network_input(hu: Tensor, lut: Tensor, crop_px: int, side_px: int) -> Tensor:
    """What the network sees without any random change: table, centre crop, reduction.

    Args:
        hu: ``(..., H, W)`` int16.
        lut: See ``apply_lut``.
        crop_px: Side of the central square, in pixels.
        side_px: Side that it is reduced to.
    """
    return reduce(apply_lut(centre_crop(hu, crop_px), lut), side_px)


@dataclass(frozen=True)
class Draws:
    """The random numbers of a batch of N samples.

    Attributes:
        angle_deg: ``(N,)`` rotation, counter-clockwise, quarter turns included.
        scale: ``(N,)`` magnification.
        shift: ``(N, 2)`` of x and y, in shares of the side.
        flip: ``(N, 2)`` of x and y, +1 or -1.
    """

    angle_deg: Tensor
    scale: Tensor
    shift: Tensor
    flip: Tensor

    def of(self, samples: Tensor | slice) -> "Draws":
        """Those of some of the samples."""
        return Draws(
            self.angle_deg[samples], self.scale[samples], self.shift[samples], self.flip[samples]
        )


def draw(
    count: int, recipe: Augmentation, crop: InputSize, side_px: int, generator: torch.Generator
) -> Draws:
    """Draw the changes of ``count`` samples.

    Args:
        count: N.
        recipe: Their probabilities and ranges.
        crop: Its ``random_crop`` adds a shift by up to half of what the crop leaves over.
        side_px: Side of the prepared slices, in pixels.
        generator: On the CPU, so that every device sees the same draws.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    def happens(probability: float, *shape: int) -> Tensor:
        return uniform(*shape) < probability

    turns = torch.randint(0, 4, (count,), generator=generator) * happens(
        recipe.quarter_turns, count
    )
    affine = happens(recipe.affine, count).float()
    angle = (2 * uniform(count) - 1) * recipe.rotate_deg * affine
    scale = 1 + (2 * uniform(count) - 1) * recipe.scale * affine
    shift = (2 * uniform(count, 2) - 1) * recipe.shift * affine[:, None]
    room = (side_px - crop.crop_px) / 2 / side_px if crop.random_crop else 0.0
    shift = shift + (2 * uniform(count, 2) - 1) * room
    odds = torch.tensor([recipe.flip_horizontal, recipe.flip_vertical])
    mirrored = uniform(count, 2) < odds
    # Drawn even where it is not wanted: the other draws do not depend on it.
    which = torch.randint(0, 3, (count,), generator=generator)
    either = torch.stack([which != 1, which != 0], dim=1)
    mirrored ^= either & happens(recipe.flip_either, count)[:, None]
    flip = 1.0 - 2.0 * mirrored.float()
    return Draws(angle + 90.0 * turns, scale, shift, flip)


def sampling_matrices(draws: Draws, crop_share: float) -> Tensor:
    """Matrices ``(N, 2, 3)`` from output to input coordinates, both -1..1 over their squares.

    The image is mirrored, magnified, turned, shifted and then cut; the matrix undoes that
    from the last step to the first.

    Args:
        draws: The random numbers.
        crop_share: Side of the crop as a share of the slice's side.
    """
    radians = draws.angle_deg * (math.pi / 180)
    cos, sin = torch.cos(radians) / draws.scale, torch.sin(radians) / draws.scale
    # Image axes: x to the right, y down; a positive angle turns counter-clockwise on screen.
    rows_x = torch.stack([cos, -sin], dim=1) * draws.flip[:, :1]
    rows_y = torch.stack([sin, cos], dim=1) * draws.flip[:, 1:]
    turn = torch.stack([rows_x, rows_y], dim=1)
    offset = -(turn @ (2 * draws.shift)[:, :, None])
    return torch.cat([turn * crop_share, offset], dim=2)


def reduced_grid_px(side_px: int, crop: InputSize) -> int:
    """Side of the whole slice once it is reduced for a smaller input, in pixels.

    A reduced input is averaged before it is resampled: resampling alone would skip pixels.
    """
    return side_px // (crop.crop_px // crop.network_px)


def look_up(hu: Tensor, lut: Tensor, crop: InputSize) -> Tensor:
    """The part of ``augmented_input`` that no random change touches: table and reduction.

    Args:
        hu: ``(..., H, W)`` int16.
        lut: See ``apply_lut``.
        crop: Size of the input.
    """
    return reduce(apply_lut(hu, lut), reduced_grid_px(hu.shape[-1], crop))


# Half precision would place pixels up to a pixel off: never within autocast.
@torch.autocast("cuda", enabled=False)
@torch.autocast("cpu", enabled=False)
def resample(image: Tensor, air: float, draws: Draws, border: str, crop: InputSize) -> Tensor:
    """Random changes and crop of looked-up slices, as one bilinear resampling.

    Args:
        image: ``(N, S, h, w)`` from ``look_up``; all slices of a sample are changed alike.
        air: Network input of air.
        draws: Random numbers of the N samples.
        border: ``edge`` repeats the outermost pixels, ``air`` has the value of air.
        crop: Size of the square that is kept and what it is reduced to.

    Returns:
        ``(N, S, side, side)`` float32.
    """
    side_px = crop.network_px
    share = side_px / image.shape[-1]
    matrices = sampling_matrices(draws, share).to(image.device)
    grid = nn.functional.affine_grid(
        matrices, [image.shape[0], 1, side_px, side_px], align_corners=False
    )
    if border == "edge":
        return _sample(image, grid, "border")
    return _sample(image - air, grid, "zeros") + air


@torch.autocast("cuda", enabled=False)
@torch.autocast("cpu", enabled=False)
def mask_targets(masks: Tensor, draws: Draws, crop: InputSize) -> Tensor:
    """Masks changed like their slices, at the resolution of the decoder.

    Resampled with the nearest neighbour; a pixel of the target carries a class when any of
    the pixels that it covers does.

    Args:
        masks: ``(N, H, W)`` int8: 0 no blood, 1..5 the types, 6 unclassified; -1 on slices
            that have no mask.
        draws: Random numbers of the N samples.
        crop: See ``resample``.

    Returns:
        ``(N, 7, side / 4, side / 4)`` float32 in 0..1: types, unclassified, any.
    """
    matrices = sampling_matrices(draws, crop.crop_px / masks.shape[-1]).to(masks.device)
    shape = [len(masks), 1, crop.crop_px, crop.crop_px]
    grid = nn.functional.affine_grid(matrices, shape, align_corners=False)
    image = masks.clamp(min=0).float()[:, None]
    values = nn.functional.grid_sample(image, grid, mode="nearest", align_corners=False)
    side = crop.network_px // MASK_STRIDE
    targets = image.new_zeros(len(masks), MASK_CLASSES, side, side)
    for value in values.unique().tolist():  # Few of the types are in one batch.
        if value:
            plane = (values[:, 0] == value).float()
            targets[:, int(value) - 1] = nn.functional.max_pool2d(plane, crop.crop_px // side)
    targets[:, -1] = targets[:, :-1].amax(dim=1)
    return targets


def augmented_input(hu: Tensor, lut: Tensor, draws: Draws, border: str, crop: InputSize) -> Tensor:
    """Network input with random changes: one table look-up, one bilinear resampling.

    Args:
        hu: ``(N, S, H, W)`` int16.
        lut: See ``apply_lut``.
        draws: See ``resample``.
        border: See ``resample``.
        crop: See ``resample``.
    """
    return resample(look_up(hu, lut, crop), float(lut[0]), draws, border, crop)


def _sample(image: Tensor, grid: Tensor, padding: str) -> Tensor:
    return nn.functional.grid_sample(
        image, grid, mode="bilinear", padding_mode=padding, align_corners=False
    )
