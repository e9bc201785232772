"""Network input of a study under test-time augmentations (TTA)."""

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from rsna19_kedro.networks.input_size import InputSize
from rsna19_kedro.networks.network_input import Draws, air_value, look_up, network_input, resample
from rsna19_kedro.networks.tta import VARIANTS, Variant


def study_inputs(
    hu: Tensor, lut: Tensor, size: InputSize, variants: Sequence[str], study_id: str
) -> Tensor:
    """Return the network input of a study under several test-time augmentations.

    Args:
        hu: ``(S, H, W)`` int16.
        lut: ``(1401,)`` float32.
        size: The model's input.
        variants: Names of V test-time augmentations.
        study_id: Seeds random parameters, together with the augmentation's name.

    Returns:
        ``(V, S, side, side)`` float32 on the device of ``hu``.
    """
    chosen = [VARIANTS[name] for name in variants]
    plain = whole = None
    inputs = []
    for variant in chosen:
        if variant.resamples:
            whole = look_up(hu, lut, size) if whole is None else whole
            draws = study_draws(variant, study_id, size, hu.shape[-1])
            inputs.append(resample(whole[None], air_value(lut, size), draws, "air", size)[0])
        else:
            if plain is None:
                plain = network_input(hu, lut, size)
            inputs.append(_flip_and_turn(plain, variant))
    return torch.stack(inputs)


def study_draws(variant: Variant, study_id: str, size: InputSize, side_px: int) -> Draws:
    """Return the parameters of an interpolating augmentation for one study.

    Random parameters depend only on the names of study and augmentation, so that a table does
    not depend on the order of the studies.
    """
    seed = zlib.crc32(f"{study_id} {variant.name}".encode())
    uniform = 2 * torch.rand(6, generator=torch.Generator().manual_seed(seed)) - 1
    max_offset = (side_px - size.crop_px) / 2 / side_px if variant.random_crop else 0.0
    shift = uniform[:2] * variant.random_shift + uniform[2:4] * max_offset
    angle = variant.rotate_deg + uniform[4] * variant.random_rotate_deg
    flip = torch.tensor(
        [
            -1.0 if variant.flip_horizontal else 1.0,
            -1.0 if variant.flip_vertical else 1.0,
        ]
    )
    return Draws(
        angle.reshape(1) + 90.0 * variant.quarter_turns,
        (1 + uniform[5] * variant.random_scale).reshape(1),
        shift[None],
        flip[None],
    )


def _flip_and_turn(slices: Tensor, variant: Variant) -> Tensor:
    """Apply flips, then quarter turns, to ``(..., H, W)``."""
    axes = [
        axis
        for axis, wanted in ((-1, variant.flip_horizontal), (-2, variant.flip_vertical))
        if wanted
    ]
    flipped = slices.flip(axes) if axes else slices
    return flipped.rot90(variant.quarter_turns, (-2, -1)) if variant.quarter_turns else flipped
