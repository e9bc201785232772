"""Slice encoders: a batch of slices in, a map of features out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor, nn

from rsna19_kedro.errors import InputError


@dataclass(frozen=True)
class EncoderSource:
    """Where an encoder comes from.

    Attributes:
        timm_name: Architecture and tag of its weights in timm.
        stem: Names of the first layers that are new when a model has a stem of its own.
    """

    timm_name: str
    stem: tuple[str, ...]


ENCODERS: dict[str, EncoderSource] = {
    # torchvision's first recipe, which the reference used; timm's default tag is another one.
    "resnet18": EncoderSource("resnet18.tv_in1k", ("conv1", "bn1")),
    "resnet34": EncoderSource("resnet34.tv_in1k", ("conv1", "bn1")),
}


def build_encoder(
    name: str, channels: int, *, pretrained: bool | str, new_stem: bool
) -> tuple[nn.Module, int]:
    """Build an encoder that ends in its last feature map.

    Args:
        name: Key of ``ENCODERS``.
        channels: Number of input channels k; the module takes ``(N, k, H, W)``.
        pretrained: True for the library's ImageNet weights, a path of a local file with
            them, or False for random ones.
        new_stem: Whether the first convolution and its norm keep their random weights.

    Returns:
        The module, whose output is ``(N, F, H/32, W/32)``, and F.

    Raises:
        InputError: Unknown name, or weights that cannot be had; says what to do.
    """
    if name not in ENCODERS:
        raise InputError(f"Unknown encoder {name!r}. The encoders are: {', '.join(ENCODERS)}.")
    source = ENCODERS[name]

    def create(weights: bool, **options: Any) -> nn.Module:
        return timm.create_model(
            source.timm_name,
            pretrained=weights,
            in_chans=channels,
            num_classes=0,
            global_pool="",
            **options,
        )

    encoder = _create(create, source, pretrained)
    if new_stem and pretrained:
        fresh = create(False)
        for layer in source.stem:
            encoder.get_submodule(layer).load_state_dict(fresh.get_submodule(layer).state_dict())
    return encoder, int(encoder.num_features)  # type: ignore[arg-type]


def _create(
    create: Callable[..., nn.Module], source: EncoderSource, pretrained: bool | str
) -> nn.Module:
    if pretrained is False:
        return create(False)
    if isinstance(pretrained, str):
        try:
            return create(True, pretrained_cfg_overlay={"file": pretrained})
        except (OSError, RuntimeError, KeyError) as error:
            raise InputError(
                f"The weights in {pretrained} do not fit {source.timm_name}: {error}"
            ) from error
    try:
        return create(True)
    except Exception as error:
        raise InputError(
            f"The ImageNet weights {source.timm_name} could not be downloaded "
            f"({type(error).__name__}). On a machine without internet, fetch "
            f"'timm/{source.timm_name}' (model.safetensors) from the Hugging Face hub elsewhere, "
            "copy it here and name it in the model's YAML as initial_weights: PATH, or set "
            "initial_weights: null to start from random weights."
        ) from error


def trainable(module: nn.Module, wanted: bool) -> None:
    """Let all of a module's weights learn, or none."""
    for weight in module.parameters():
        weight.requires_grad_(wanted)


def global_pool(features: Tensor) -> Tensor:
    """Global average and global maximum, concatenated: ``(N, F, h, w)`` to ``(N, 2F)``."""
    return torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
