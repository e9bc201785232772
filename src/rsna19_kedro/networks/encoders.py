"""Slice encoders: from a batch of slices to a feature map."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from rsna19_kedro.errors import ModelError, ParameterError
from rsna19_kedro.networks.weights import WeightSource, imagenet_weights, synthetic_weights
from rsna19_kedro.networks.zoo import SMALL, SYNTHETIC, ZOO


@dataclass(frozen=True)
class EncoderSource:
    """Source of an encoder and layout of its first layers.

    Attributes:
        weights: Architecture and ImageNet weights, as named by their library.
        first_conv: Name of the first convolution.
        stem: Names of the first layers. A new stem trains even while the rest of the encoder
            is frozen.
        new_conv: Builds the first convolution of a new stem (docs/reference.md#networks).
        new_norm: Name of a batch norm that is reset together with a new stem.
        new_norm_momentum: Momentum of this batch norm.
        levels: Indices of the stages whose feature maps a decoder uses, including the last.
        without: Name of a last stage that is left out.
    """

    weights: WeightSource
    first_conv: str
    stem: tuple[str, ...]
    new_conv: Callable[[], nn.Conv2d]
    new_norm: str | None = None
    new_norm_momentum: float = 0.1
    levels: tuple[int, ...] = ()
    without: str | None = None


def _new_conv(features: int, kernel: int) -> Callable[[], nn.Conv2d]:
    """Return a builder of a first convolution with one channel and stride 2."""
    return lambda: nn.Conv2d(1, features, kernel, stride=2, padding=kernel // 2, bias=False)


ENCODERS: dict[str, EncoderSource] = {
    # torchvision's first weights, which the reference used; timm's default tag is another one.
    "resnet18": EncoderSource(
        WeightSource("timm", "resnet18.tv_in1k"),
        "conv1",
        ("conv1", "bn1"),
        _new_conv(64, 7),
        "bn1",
        levels=(2, 3, 4),
    ),
    # A quarter of the weights, and feature maps of twice the resolution.
    "resnet18_3_stages": EncoderSource(
        WeightSource("timm", "resnet18.tv_in1k"),
        "conv1",
        ("conv1", "bn1"),
        _new_conv(64, 7),
        "bn1",
        without="layer4",
    ),
    "resnet34": EncoderSource(
        WeightSource("timm", "resnet34.tv_in1k"),
        "conv1",
        ("conv1", "bn1"),
        _new_conv(64, 7),
        "bn1",
        levels=(2, 3, 4),
    ),
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
}


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
) -> tuple[nn.Module, int]:
    """Build an encoder without global pooling and head.

    Args:
        name: Key of ``ENCODERS``.
        channels: Number of input channels k; the module takes ``(N, k, H, W)``.
        new_stem: Whether the first convolution is replaced by the reference's (k = 1), with
            random weights.
        weights: ``imagenet`` for the library's weights, ``synthetic`` for those of the packaged
            small model (same architecture, one channel), the path of a weights file, or ``None``
            for random weights.
        weights_folder: Folder searched for ImageNet weights before they are downloaded.

    Returns:
        The module, whose output is ``(N, F, h, w)``, and F.

    Raises:
        ParameterError: Unknown name.
        ModelError: Weights are missing or do not fit; the message says what to do.
    """
    if name not in ENCODERS:
        raise ParameterError(f"Unknown encoder {name!r}. The encoders are: {', '.join(ENCODERS)}.")
    source = ENCODERS[name]
    encoder, features = _architecture(source.weights)
    if source.without is not None:
        first = next(iter(encoder.get_submodule(source.without).parameters()))
        features = first.shape[1]  # Of the stage before.
        encoder.set_submodule(source.without, nn.Identity())
    if weights not in (None, SYNTHETIC):
        state = imagenet_weights(source.weights, weights, weights_folder)
        _load(encoder, state, source.weights.name)
    if new_stem:
        encoder.set_submodule(source.first_conv, source.new_conv())
        if source.new_norm is not None:
            norm = encoder.get_submodule(source.new_norm)
            assert isinstance(norm, nn.BatchNorm2d)
            norm.reset_parameters()
            norm.momentum = source.new_norm_momentum
    elif channels != 3:
        _change_channels(encoder, source.first_conv, channels)
    if weights == SYNTHETIC:
        _load_synthetic(encoder, name, channels)
    return encoder, features


def _architecture(source: WeightSource) -> tuple[nn.Module, int]:
    """Build the library's 3-channel network without head, with random weights."""
    if source.library == "timm":
        import timm

        # timm's SENet has a dropout of 0.2 on its last feature map by default.
        network = timm.create_model(source.name, num_classes=0, global_pool="", drop_rate=0.0)
        return network, int(network.num_features)  # type: ignore[arg-type]
    from pytorchcv.model_provider import get_model

    whole = get_model(source.name, pretrained=False)
    encoder = whole.features
    encoder.final_pool = CappedAveragePool(encoder.final_pool.kernel_size)
    return encoder, int(whole.output.in_features)


def _load(encoder: nn.Module, state: dict[str, Tensor], name: str) -> None:
    """Load 3-channel ImageNet weights, except those of the head."""
    target = encoder.state_dict()
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


def _change_channels(encoder: nn.Module, first_conv: str, channels: int) -> None:
    """Change the number of channels of the first convolution."""
    old = encoder.get_submodule(first_conv)
    assert isinstance(old, nn.Conv2d) and not isinstance(old.padding, str)  # noqa: PT018
    conv = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        stride=old.stride,  # type: ignore[arg-type]
        padding=old.padding,  # type: ignore[arg-type]
        bias=False,
    )
    with torch.no_grad():
        conv.weight.copy_(stem_of_channels(old.weight, channels))
    encoder.set_submodule(first_conv, conv)


def stem_of_channels(weight: Tensor, channels: int) -> Tensor:
    """Convert 3-channel weights of a first convolution to another number of channels.

    A single channel gets their sum, so that a grey image gives the same features. With more
    channels, the middle three get the weights and the others 0 (docs/reference.md#networks).

    Args:
        weight: ``(O, 3, h, w)``.
        channels: k, odd.

    Returns:
        ``(O, k, h, w)``.
    """
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    side = (channels - 3) // 2
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
