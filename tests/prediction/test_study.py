"""Whole-study prediction gives the numbers of predicting each slice with its own window."""

import pytest
import torch

from rsna19_kedro.networks.slice_network import SliceNetwork
from rsna19_kedro.networks.zoo import ZOO, ModelSpec
from rsna19_kedro.prediction.study import study_logits
from rsna19_kedro.prediction.variants import VARIANTS

AIR = -1.0
SPECS = [
    *ZOO.values(),
    ModelSpec("3x3", "resnet18", channels=3, taps=3, dilation=3, combined_features=32),
    ModelSpec("3x3 on 5", "resnet18", channels=3, taps=3, dilation=1, combined_features=32),
    ModelSpec("7c", "resnet18", channels=7),
]


def _network(spec: ModelSpec) -> SliceNetwork:
    torch.manual_seed(1)
    network = SliceNetwork(spec).eval()
    if network.combiner is not None:
        torch.nn.init.normal_(network.combiner.conv.weight, std=0.05)
    return network


def _slice_by_slice(network: SliceNetwork, slices: torch.Tensor) -> torch.Tensor:
    half = network.spec.window // 2
    padded = torch.nn.functional.pad(slices, (0, 0, 0, 0, half, half), value=AIR)
    windows = padded.unfold(1, network.spec.window, 1).movedim(-1, 2)
    return torch.stack([network(w)[:, 0] for w in windows.unbind(1)], dim=1)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("count", [1, 2, 7])
def test_equals_windows(spec: ModelSpec, count: int) -> None:
    network = _network(spec)
    slices = torch.randn(2, count, 64, 64)
    with torch.inference_mode():
        whole = study_logits(network, slices, AIR, batch_slices=5)
        windowed = _slice_by_slice(network, slices)
    assert whole.shape == (2, count, 6)
    assert torch.allclose(whole, windowed, atol=2e-5)


def test_centre_only_equals_single_slices() -> None:
    network = _network(ZOO["resnet18_400"])
    slices = torch.randn(1, 4, 64, 64)
    with torch.inference_mode():
        whole = study_logits(network, slices, AIR, centre_only=True)
        single = torch.stack([network(s[None, None])[0, 0] for s in slices[0]])
    assert torch.allclose(whole[0], single, atol=2e-5)


def test_variants_move_a_corner_where_they_say() -> None:
    corner = torch.zeros(1, 4, 4)
    corner[0, 0, 3] = 1  # Top right.
    at = {name: tuple(v.apply(corner)[0].nonzero()[0].tolist()) for name, v in VARIANTS.items()}
    assert at == {
        "normal": (0, 3),
        "flip_horizontal": (0, 0),
        "flip_vertical": (3, 3),
        "rot90": (0, 0),
    }
