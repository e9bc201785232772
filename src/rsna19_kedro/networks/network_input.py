"""Network input: look-up table or windows, crop, reduction, and resampling as one bilinear step.

With windows, slices stay in HU up to the network, which makes channels of them just before its
encoder: averages and interpolation are those of HU.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rsna19_kedro.contracts import AIR_HU
from rsna19_kedro.errors import ModelError
from rsna19_kedro.networks.input_size import InputSize, Windows

LUT_MIN_HU = -400
LUT_MAX_HU = 1000


def apply_lut(hu: Tensor, lut: Tensor) -> Tensor:
    """Map HU to network input by the look-up table.

    Args:
        hu: int16, any shape.
        lut: ``(1401,)`` float32, the values of HU -400..1000.

    Returns:
        float32 of the same shape; HU outside the table are clipped.
    """
    index = hu.int().clamp_(LUT_MIN_HU, LUT_MAX_HU).sub_(LUT_MIN_HU)
    return lut.index_select(0, index.flatten()).view(hu.shape)


def apply_windows(hu: Tensor, windows: Windows) -> Tensor:
    """Map HU to one channel per window.

    Args:
        hu: ``(N, k, H, W)`` float32.
        windows: Centre and width of each of n windows.

    Returns:
        ``(N, k * n, H, W)`` in [-1, 1]: all windows of the first slice, then of the second.
    """
    shown = [2 * ((hu - (centre - width / 2)) / width).clamp(0, 1) - 1 for centre, width in windows]
    return torch.stack(shown, dim=2).flatten(1, 2)


def pixel_values(hu: Tensor, lut: Tensor, size: InputSize) -> Tensor:
    """Map int16 HU to float32 values: by the look-up table, or HU if the input has windows."""
    return apply_lut(hu, lut) if size.windows is None else hu.float()


def air_value(lut: Tensor, size: InputSize) -> float:
    """Return the value of air, see ``pixel_values``."""
    return float(lut[0]) if size.windows is None else float(AIR_HU)


def centre_crop(slices: Tensor, crop_px: int) -> Tensor:
    """Crop the central square of ``(..., H, W)``; an odd margin is 1 px smaller at the top/left.

    Raises:
        ModelError: The slices are smaller than the square.
    """
    height, width = slices.shape[-2:]
    if crop_px > min(height, width):
        raise ModelError(
            f"The model crops slices to {crop_px} x {crop_px} pixels, but the prepared slices have "
            f"only {height} x {width}. Raise volume_prep.crop_size_px and prepare the volumes "
            "again, or lower input.crop_px of the model and train it again."
        )
    top, left = (height - crop_px) // 2, (width - crop_px) // 2
    return slices[..., top : top + crop_px, left : left + crop_px]


def reduce(slices: Tensor, side_px: int) -> Tensor:
    """Reduce ``(..., H, W)`` to a square of ``side_px`` by area averaging."""
    if slices.shape[-1] == side_px and slices.shape[-2] == side_px:
        return slices
    flat = slices.reshape(-1, 1, *slices.shape[-2:])
    small = nn.functional.interpolate(flat, size=(side_px, side_px), mode="area")
    return small.reshape(*slices.shape[:-2], side_px, side_px)


def network_input(hu: Tensor, lut: Tensor, size: InputSize) -> Tensor:
    """Network input without augmentation: centre crop, values, reduction.

    Args:
        hu: ``(..., H, W)`` int16.
        lut: See ``apply_lut``.
        size: Crop, reduction and windows.
    """
    return reduce(pixel_values(centre_crop(hu, size.crop_px), lut, size), size.network_px)


@dataclass(frozen=True)
class Draws:
    """Augmentation parameters of a batch of N samples.

    Attributes:
        angle_deg: ``(N,)`` rotation, counter-clockwise, quarter turns included.
        scale: ``(N,)`` magnification.
        shift: ``(N, 2)`` for x and y, as a share of the side.
        flip: ``(N, 2)`` for x and y, +1 or -1.
    """

    angle_deg: Tensor
    scale: Tensor
    shift: Tensor
    flip: Tensor

    def of(self, samples: Tensor | slice) -> "Draws":
        """Select some of the samples."""
        return Draws(
            self.angle_deg[samples], self.scale[samples], self.shift[samples], self.flip[samples]
        )


def sampling_matrices(draws: Draws, crop_share: float) -> Tensor:
    """Return matrices ``(N, 2, 3)`` from output to input coordinates, both in -1..1.

    The image is flipped, scaled, rotated, shifted and cropped; the matrix inverts these steps
    in reverse order.

    Args:
        draws: Augmentation parameters.
        crop_share: Side of the crop as a share of the slice's side.
    """
    radians = draws.angle_deg * (math.pi / 180)
    cos, sin = torch.cos(radians) / draws.scale, torch.sin(radians) / draws.scale
    # Image axes: x to the right, y down; positive angles are counter-clockwise.
    rows_x = torch.stack([cos, -sin], dim=1) * draws.flip[:, :1]
    rows_y = torch.stack([sin, cos], dim=1) * draws.flip[:, 1:]
    turn = torch.stack([rows_x, rows_y], dim=1)
    offset = -(turn @ (2 * draws.shift)[:, :, None])
    return torch.cat([turn * crop_share, offset], dim=2)


def reduced_grid_px(side_px: int, crop: InputSize) -> int:
    """Return the side of the whole slice after reduction, in pixels.

    A reduced input is averaged before it is resampled: resampling alone would skip pixels.
    """
    return side_px // (crop.crop_px // crop.network_px)


def look_up(hu: Tensor, lut: Tensor, crop: InputSize) -> Tensor:
    """Return values after reduction, the steps before augmentation.

    Args:
        hu: ``(..., H, W)`` int16.
        lut: See ``apply_lut``.
        crop: Size of the input.
    """
    return reduce(pixel_values(hu, lut, crop), reduced_grid_px(hu.shape[-1], crop))


# Half precision would shift pixels by up to one pixel: no autocast.
@torch.autocast("cuda", enabled=False)
@torch.autocast("cpu", enabled=False)
def resample(image: Tensor, air: float, draws: Draws, border: str, crop: InputSize) -> Tensor:
    """Augment and crop slices from ``look_up`` in one bilinear resampling.

    Args:
        image: ``(N, S, h, w)`` from ``look_up``; all slices of a sample are changed alike.
        air: Network input of air.
        draws: Augmentation parameters of the N samples.
        border: Padding: ``edge`` repeats the outermost pixels, ``air`` is the value of air.
        crop: Size of the input.

    Returns:
        ``(N, S, side, side)`` float32.
    """
    side_px = crop.network_px
    share = side_px / image.shape[-1]
    matrices = sampling_matrices(draws, share).to(image)
    grid = nn.functional.affine_grid(
        matrices, [image.shape[0], 1, side_px, side_px], align_corners=False
    )
    if border == "edge":
        return _sample(image, grid, "border")
    return _sample(image - air, grid, "zeros") + air


def _sample(image: Tensor, grid: Tensor, padding_mode: str) -> Tensor:
    return nn.functional.grid_sample(
        image, grid, mode="bilinear", padding_mode=padding_mode, align_corners=False
    )
