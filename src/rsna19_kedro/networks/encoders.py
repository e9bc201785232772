"""Slice encoders: from a batch of slices to a feature map."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rsna19_kedro.errors import ModelError, ParameterError
from rsna19_kedro.networks.weights import WeightSource, imagenet_weights, synthetic_weights
from rsna19_kedro.networks.zoo import SIDE_MULTIPLES, SMALL, SYNTHETIC, ZOO, check_side


@dataclass(frozen=True)
class EncoderSource:
    """Source of an encoder and layout of its first layers.

    Attributes:
        weights: Architecture and ImageNet weights, as named by their library.
        first_conv: Name of the first convolution.
        stem: Names of the first layers. A new stem trains even while the rest of the encoder
            is frozen.
        new_conv: Builds the first convolution of a new stem (docs/reference.md#networks) from its
            number of channels.
        new_norm: Name of a batch norm that is reset together with a new stem.
        new_norm_momentum: Momentum of this batch norm.
        levels: Indices of the stages whose feature maps a decoder uses, including the last.
        without: Name of a last stage or layer that is left out.
    """

    weights: WeightSource
    first_conv: str
    stem: tuple[str, ...]
    new_conv: Callable[[int], nn.Conv2d]
    new_norm: str | None = None
    new_norm_momentum: float = 0.1
    levels: tuple[int, ...] = ()
    without: str | None = None


def _new_conv(features: int, kernel: int) -> Callable[[int], nn.Conv2d]:
    """Return a builder of a first convolution with stride 2, from its number of channels."""
    return lambda channels: nn.Conv2d(
        channels, features, kernel, stride=2, padding=kernel // 2, bias=False
    )


def _resnet(name: str, **options: Any) -> EncoderSource:
    source = WeightSource("timm", f"{name}.tv_in1k")
    return EncoderSource(source, "conv1", ("conv1", "bn1"), _new_conv(64, 7), "bn1", **options)


def _maxvit_tiny(side_px: int) -> EncoderSource:
    """MaxViT-T; its last maps are normalised per pixel, as the library does after pooling."""
    source = WeightSource("timm", f"maxvit_tiny_tf_{side_px}.in1k")
    stem = ("stem.conv1", "stem.norm1")
    return EncoderSource(source, stem[0], stem, _new_conv(64, 3), without="head.pre_logits")


ENCODERS: dict[str, EncoderSource] = {
    # torchvision's first weights, which the reference used; timm's default tag is another one.
    "resnet18": _resnet("resnet18", levels=(2, 3, 4)),
    # A quarter of the weights, and feature maps of twice the resolution.
    "resnet18_3_stages": _resnet("resnet18", without="layer4"),
    "resnet34": _resnet("resnet34", levels=(2, 3, 4)),
    "seresnext50": EncoderSource(
        WeightSource("timm", "legacy_seresnext50_32x4d.in1k"),
        "layer0.conv1",
        ("layer0.conv1", "layer0.bn1"),
        _new_conv(64, 3),
    ),
    "dpn68b": EncoderSource(
        WeightSource("timm", "dpn68b.mx_in1k"),
        "features.conv1_1.conv",
        ("features.conv1_1",),
        _new_conv(10, 3),
        "features.conv1_1.bn",
        new_norm_momentum=0.02,
    ),
    "airnet50": EncoderSource(
        WeightSource("pytorchcv", "airnet50_1x64d_r16"),
        "init_block.conv1.conv",
        ("init_block.conv1",),
        _new_conv(32, 3),
    ),
    "sepreresnetbc26b": EncoderSource(
        WeightSource("pytorchcv", "sepreresnetbc26b"),
        "init_block.conv",
        ("init_block.conv", "init_block.bn"),
        _new_conv(64, 7),
    ),
    "maxvit_tiny_tf_384": _maxvit_tiny(384),
    "maxvit_tiny_tf_512": _maxvit_tiny(512),
}


_TABLE = ".relative_position_bias_table"  # (heads, rows, columns) of MaxViT's attention.


class CappedAveragePool(nn.Module):
    """Average pooling with stride 1 and a kernel that is at most as large as the map.

    pytorchcv's networks end in a 7x7 pooling for inputs of at least 224 pixels.

    Args:
        side: Kernel size.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, maps: Tensor) -> Tensor:
        """Pool ``(N, F, h, w)``."""
        height, width = maps.shape[-2:]
        kernel = (min(self.side, height), min(self.side, width))
        return nn.functional.avg_pool2d(maps, kernel, stride=1)


def build_encoder(
    name: str,
    channels: int,
    *,
    new_stem: bool,
    weights: str | None = None,
    weights_folder: str | None = None,
    windows: int = 1,
    side_px: int | None = None,
) -> tuple[nn.Module, int]:
    """Build an encoder without global pooling and head.

    Args:
        name: Key of ``ENCODERS``.
        channels: Number of slices k; the module takes ``(N, k * windows, H, W)``.
        new_stem: Whether the first convolution is replaced by the reference's, with random
            weights.
        weights: ``imagenet`` for the library's weights, ``synthetic`` for those of the packaged
            small model (same architecture, one channel), the path of a weights file, or ``None``
            for random weights.
        weights_folder: Folder searched for ImageNet weights before they are downloaded.
        windows: Channels per slice.
        side_px: Side of the input, for the encoders in ``SIDE_MULTIPLES``; ``None`` for that of
            their weights.

    Returns:
        The module, whose output is ``(N, F, h, w)``, and F.

    Raises:
        ParameterError: Unknown name, or a side that does not fit.
        ModelError: Weights are missing or do not fit; the message says what to do.
    """
    if name not in ENCODERS:
        raise ParameterError(f"Unknown encoder {name!r}. The encoders are: {', '.join(ENCODERS)}.")
    source = ENCODERS[name]
    options = {}
    if name in SIDE_MULTIPLES and side_px is not None:
        check_side(name, side_px)
        options = {"img_size": side_px}
    encoder, features = _architecture(source.weights, **options)
    if source.without is not None:
        first = next(iter(encoder.get_submodule(source.without).parameters()))
        features = first.shape[1]  # Of the stage before.
        encoder.set_submodule(source.without, nn.Identity())
    if weights not in (None, SYNTHETIC):
        state = imagenet_weights(source.weights, weights, weights_folder)
        _load(encoder, state, source.weights.name)
    if new_stem:
        encoder.set_submodule(source.first_conv, source.new_conv(channels * windows))
        if source.new_norm is not None:
            norm = encoder.get_submodule(source.new_norm)
            assert isinstance(norm, nn.BatchNorm2d)
            norm.reset_parameters()
            norm.momentum = source.new_norm_momentum
    elif channels * windows != 3:
        _change_channels(encoder, source.first_conv, channels, windows)
    if weights == SYNTHETIC:
        _load_synthetic(encoder, name, channels * windows)
    return encoder, features


def _architecture(source: WeightSource, **options: Any) -> tuple[nn.Module, int]:
    """Build the library's 3-channel network without head, with random weights."""
    if source.library == "timm":
        import timm

        # timm's SENet has a dropout of 0.2 on its last feature map by default.
        options |= {"num_classes": 0, "global_pool": "", "drop_rate": 0.0}
        network = timm.create_model(source.name, **options)
        return network, int(network.num_features)  # type: ignore[arg-type]
    from pytorchcv.model_provider import get_model

    whole = get_model(source.name, pretrained=False)
    encoder = whole.features
    encoder.final_pool = CappedAveragePool(encoder.final_pool.kernel_size)
    return encoder, int(whole.output.in_features)


def _load(encoder: nn.Module, state: dict[str, Tensor], name: str) -> None:
    """Load 3-channel ImageNet weights, except those of the head.

    The position tables of MaxViT are interpolated to the side of the input.
    """
    target = encoder.state_dict()
    for key, value in target.items():
        table = state.get(key)
        if key.endswith(_TABLE) and table is not None and table.shape[:1] == value.shape[:1]:
            size = value.shape[1:]
            state |= {key: nn.functional.interpolate(table[None], size, mode="bilinear")[0]}
    wrong = [
        key
        for key, value in target.items()
        if not key.endswith("num_batches_tracked")
        and (key not in state or state[key].shape != value.shape)
    ]
    if wrong:
        raise ModelError(
            f"The initial weights do not fit {name}: {len(wrong)} of {len(target)} tensors are "
            f"missing or have another shape, such as {wrong[0]}. Use a file for that network."
        )
    encoder.load_state_dict({key: state.get(key, value) for key, value in target.items()})


def _load_synthetic(encoder: nn.Module, name: str, channels: int) -> None:
    """Load the encoder of the packaged small model; layers that it lacks stay random."""
    if ENCODERS[name].weights != ENCODERS[ZOO[SMALL].encoder].weights or channels != 1:
        fitting = [m for m, spec in ZOO.items() if spec.encoder.startswith("resnet18")]
        raise ModelError(
            f"initial_weights: synthetic does not fit the encoder {name} with {channels} "
            f"channel(s), only {', '.join(fitting)}."
        )
    encoder.load_state_dict(synthetic_weights(), strict=False)


def _change_channels(encoder: nn.Module, first_conv: str, channels: int, windows: int) -> None:
    """Change the number of channels of the first convolution, see ``build_encoder``.

    With windows, the colours' weights are repeated over the channels and scaled by 3 / channels
    (timm's rule): with three windows, equal slices give the features of one colour image.
    """
    conv = encoder.get_submodule(first_conv)
    assert isinstance(conv, nn.Conv2d)
    weight = conv.weight.detach()
    if windows == 1:
        weight = stem_of_channels(weight, channels)
    else:
        from timm.models import adapt_input_conv

        weight = adapt_input_conv(channels * windows, weight)
    conv.in_channels, conv.weight = channels * windows, nn.Parameter(weight)


def stem_of_channels(weight: Tensor, channels: int) -> Tensor:
    """Convert the weights of a first convolution to another number of channels.

    A single channel gets their sum, so that a grey image gives the same features. With more
    channels, the middle ones get the weights and the others 0 (docs/reference.md#networks).

    Args:
        weight: ``(O, c, h, w)``.
        channels: k, odd if c is odd.

    Returns:
        ``(O, k, h, w)``.
    """
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    side = (channels - weight.shape[1]) // 2
    return nn.functional.pad(weight, (0, 0, 0, 0, side, side))


def trainable(module: nn.Module, wanted: bool) -> None:
    """Make all parameters of a module trainable, or none."""
    for weight in module.parameters():
        weight.requires_grad_(wanted)


def global_pool(features: Tensor) -> Tensor:
    """Concatenate global average and maximum: ``(N, F, h, w)`` to ``(N, 2F)``."""
    return torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)


def save_all(folder: str) -> None:
    """Download the weights of all encoders into a folder, for a machine without internet.

    Run on a machine with internet:
    ``python -c "from rsna19_kedro.networks.encoders import save_all; save_all('weights')"``
    """
    from safetensors.torch import save_file

    for source in {encoder.weights for encoder in ENCODERS.values()}:
        path = Path(folder) / f"{source.name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous() for k, v in imagenet_weights(source).items()}, path)
