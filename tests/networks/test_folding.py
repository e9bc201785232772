"""Batch norms folded into convolutions: fewer layers, the same features."""

import copy

import pytest
import torch
from torch import nn

from rsna19_kedro.networks.encoders import ENCODERS, build_encoder
from rsna19_kedro.networks.folding import fold_batch_norms
from rsna19_kedro.networks.zoo import SIDE_MULTIPLES


def _norms(module: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


CASES = [(name, 3 if name in SIDE_MULTIPLES else 1) for name in ENCODERS]


@pytest.mark.parametrize(("name", "channels"), [*CASES, ("resnet34", 3)])
def test_features_are_unchanged(name: str, channels: int) -> None:
    torch.manual_seed(0)
    side_px = 64 if name in SIDE_MULTIPLES else None
    encoder, _ = build_encoder(name, channels, new_stem=channels == 1, side_px=side_px)
    with torch.no_grad():  # Batch norms with statistics and weights other than 0 and 1.
        for module in encoder.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.1)
        for _ in range(5):
            encoder.train()(torch.randn(4, channels, 64, 64))
        encoder.eval()
        folded = copy.deepcopy(encoder)
        count = fold_batch_norms(folded, channels, 64)
        assert _norms(folded) == _norms(encoder) - count
        assert count >= 0.3 * _norms(encoder)
        slices = torch.randn(2, channels, *((side_px or 96),) * 2)
        expected = encoder(slices)
        assert torch.allclose(folded(slices), expected, atol=1e-5 * expected.abs().max())


def test_a_convolution_with_two_readers_keeps_its_batch_norm() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.relu = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()

        def forward(self, slices: torch.Tensor) -> torch.Tensor:
            maps = self.conv(slices)
            return self.norm(maps) + self.relu(maps)

    network = Branches().eval()
    assert fold_batch_norms(network, 1, 64) == 0
    assert isinstance(network.norm, nn.BatchNorm2d)
