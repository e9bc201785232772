"""One training step per family: loss and gradient norm against plain formulas, in float64.

The formulas use the library's encoder; combiner, pooling, head, losses and targets are written
out. The step has no augmentation, so that its input is the batch.
"""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, softplus

from recipes import base_recipe, job_of, one_device
from rsna19_kedro.networks.build import build_network
from rsna19_kedro.networks.slice_network import Combiner, SliceNetwork
from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.training.loop import PhaseLoop
from rsna19_kedro.training.plan import plan_phase
from rsna19_kedro.training.samples import Batch

pytestmark = pytest.mark.slow

SIDE_PX = 64
SAMPLES = 3
WEIGHTS = (1, 1, 1, 1, 1, 2)


@pytest.fixture(autouse=True)
def _float64():
    torch.manual_seed(3)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def _network(name: str) -> SliceNetwork:
    """The model with random weights, also of the side taps: zeros would hide a wrong tap."""
    network = build_network(ZOO[name])
    for module in network.modules():
        if isinstance(module, Combiner):
            torch.nn.init.normal_(module.conv.weight, std=0.02)
    return network.train()


def _batch(slices: int, predicted: int, mask_px: int = 0) -> Batch:
    masks = torch.zeros(SAMPLES, mask_px, mask_px, dtype=torch.int8)
    return Batch(
        slices=torch.rand(SAMPLES, slices, SIDE_PX, SIDE_PX) * 2 - 1,
        labels=(torch.rand(SAMPLES, predicted, 6) < 0.4).double(),
        masks=masks,
        names=np.zeros((SAMPLES, 2), int),
    )


def _step(name: str, network: SliceNetwork, batch: Batch) -> tuple[float, float]:
    """Loss and gradient norm of the code under test."""
    recipe = base_recipe(name, input={"crop_px": SIDE_PX}, augmentation={})
    units = plan_phase(recipe.phases.main, 1000)
    main = [phase for phase, _ in recipe.phases.in_order()].index("main")
    loop = PhaseLoop(one_device(), job_of(recipe, SIDE_PX), None, network, main, units, [])
    loss = loop._loss(network, batch, loop._draws(SAMPLES, 0, units[0]))
    assert loss.dtype == torch.float64
    loss.backward()
    return loss.item(), _norm([p.grad for p in network.parameters()])


def _expected(network: SliceNetwork, loss: Tensor) -> tuple[float, float]:
    gradients = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
    return loss.item(), _norm(gradients)


def _norm(gradients) -> float:
    return sum((g**2).sum().item() for g in gradients if g is not None) ** 0.5


def _combined(maps: Tensor, conv: torch.nn.Conv3d) -> Tensor:
    """Maps ``(N, T, F, h, w)`` of T taps to ``(N, E, h, w)``."""
    taps = conv.weight[..., 0, 0]  # (E, F, T)
    return torch.einsum("eft,ntfhw->nehw", taps, maps) + conv.bias[:, None, None]


def _pooled(maps: Tensor) -> Tensor:
    return torch.cat([maps.flatten(2).mean(2), maps.flatten(2).max(2).values], dim=1)


def _class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over slices and six columns of the weighted cross-entropies."""
    entropy = softplus(logits) - labels * logits  # -y log p - (1 - y) log(1 - p)
    columns = [weight * entropy[..., c].mean() for c, weight in enumerate(WEIGHTS)]
    return sum(columns) / 6


def test_planes() -> None:
    """Five slices one by one through the encoder, combined by five taps."""
    name = "resnet18_400"
    network, batch = _network(name), _batch(slices=5, predicted=1)
    maps = network.encoder(batch.slices.reshape(-1, 1, SIDE_PX, SIDE_PX))
    maps = _combined(maps.unflatten(0, (SAMPLES, 5)), network.combiner.conv)
    logits = _pooled(maps) @ network.head.weight.T + network.head.bias
    expected = _expected(network, _class_loss(logits, batch.labels[:, 0]))
    assert _step(name, network, batch) == pytest.approx(expected, rel=1e-9)


def test_channels() -> None:
    """Three branches of three channels, features concatenated, 1x1 convolution to 256."""
    name = "clf2Dc_resnet34_3x3"
    network, batch = _network(name), _batch(slices=9, predicted=1)
    branches = torch.stack([batch.slices[:, first : first + 3] for first in (0, 3, 6)], dim=1)
    maps = network.encoder(branches.flatten(0, 1)).unflatten(0, (SAMPLES, 3))
    weight = network.combiner.conv.weight.squeeze(-1).transpose(1, 2).flatten(1, 2)
    maps = conv2d(maps.flatten(1, 2), weight[..., None], network.combiner.conv.bias)
    logits = _pooled(maps) @ network.head.weight.T + network.head.bias
    expected = _expected(network, _class_loss(logits, batch.labels[:, 0]))
    assert _step(name, network, batch) == pytest.approx(expected, rel=1e-9)


def test_volume() -> None:
    """Eight slices give four rows of logits; a slice without labels is ignored."""
    name = "dpn68_384_5_planes_combine_last"
    network, batch = _network(name), _batch(slices=8, predicted=4)
    batch.labels[1, 3] = torch.nan
    maps = network.encoder(batch.slices.reshape(-1, 1, SIDE_PX, SIDE_PX))
    maps = maps.unflatten(0, (SAMPLES, 8))
    rows = [_combined(maps[:, t : t + 5], network.combiner.conv) for t in range(4)]
    logits = torch.stack([_pooled(row) for row in rows], dim=1) @ network.head.weight.T
    known = ~batch.labels.isnan().any(-1)
    loss = _class_loss((logits + network.head.bias)[known], batch.labels[known])
    assert known.sum() == 11
    expected = _expected(network, loss)
    assert _step(name, network, batch) == pytest.approx(expected, rel=1e-9)


def _decoded(network: SliceNetwork, levels: list[Tensor]) -> Tensor:
    """Mask logits ``(N, 7, 16, 16)``: upsample, concatenate the next level, convolve."""
    maps, skips = levels[2], [levels[1], levels[0]]
    for block in network.decoder:
        maps = interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)
        for conv in block.convs:
            depthwise, pointwise, norm, _ = conv
            maps = conv2d(maps, depthwise.weight, depthwise.bias, padding=1, groups=maps.shape[1])
            maps = norm(conv2d(maps, pointwise.weight, pointwise.bias)).clamp(min=0)
        if skips:
            maps = torch.cat([maps, skips.pop(0)], dim=1)
    return conv2d(maps, network.mask_head.weight, network.mask_head.bias)


def test_segmentation() -> None:
    """Class loss plus 10 x the mask loss of the two samples with masks."""
    name = "resnet18_384_5_planes_bn_f8"
    network, batch = _network(name), _batch(slices=5, predicted=1, mask_px=SIDE_PX)
    batch.masks[0, 10:27, 5:40], batch.masks[0, 30:33, 50:60], batch.masks[1] = 2, 6, -1

    encoder = network.encoder
    maps = encoder.bn1(encoder.conv1(batch.slices.reshape(-1, 1, SIDE_PX, SIDE_PX))).relu()
    maps = encoder.layer1(encoder.maxpool(maps))
    levels = []
    for layer, combiner in zip(
        (encoder.layer2, encoder.layer3, encoder.layer4), network.combiners, strict=True
    ):
        maps = layer(maps)
        levels.append(_combined(maps.unflatten(0, (SAMPLES, 5)), combiner.conv))
    masks = _decoded(network, levels)
    areas = (1 / (1 + torch.exp(-masks))).sum(dim=(2, 3))
    first, _, last = network.head
    hidden = torch.cat([_pooled(levels[2]), areas], dim=1) @ first.weight.T + first.bias
    logits = hidden.clamp(min=0) @ last.weight.T + last.bias

    cells = batch.masks[[0, 2]].reshape(2, 16, 4, 16, 4)
    truth = [(cells == value).any(4).any(2) for value in range(1, 7)]
    truth = torch.stack([*truth, (cells > 0).any(4).any(2)], dim=1).double()
    entropy = softplus(masks[[0, 2]]) - truth * masks[[0, 2]]
    loss = _class_loss(logits, batch.labels[:, 0]) + 10 * entropy.mean()
    expected = _expected(network, loss)
    assert _step(name, network, batch) == pytest.approx(expected, rel=1e-9)
