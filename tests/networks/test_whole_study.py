"""Whole-study prediction equals predicting each slice with its window."""

import functools

import pytest
import torch

from recipes import input_of
from rsna19_kedro.networks.build import build_network
from rsna19_kedro.networks.slice_network import Combiner, SliceNetwork
from rsna19_kedro.networks.whole_study import whole_study_maps
from rsna19_kedro.networks.zoo import ZOO, ModelSpec

pytestmark = pytest.mark.slow

AIR = -1.0
SIDE_PX = 64  # The last maps are 2 x 2, the minimum for AirNet.


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(2)  # Networks are cached: inputs must not depend on the order of tests.


@functools.cache
def _network(spec: ModelSpec) -> SliceNetwork:
    torch.manual_seed(1)
    network = build_network(spec, size=input_of(spec.name, SIDE_PX)).eval()
    for module in network.modules():  # Side taps that start at 0 would hide a wrong order.
        if isinstance(module, Combiner):
            torch.nn.init.normal_(module.conv.weight, std=0.02)
    return network


def _logits(network: SliceNetwork, slices: torch.Tensor, **options: int) -> torch.Tensor:
    (maps,) = whole_study_maps(network, [slices], AIR, **options)
    return network.classify(maps).logits


def _slice_by_slice(network: SliceNetwork, slices: torch.Tensor) -> torch.Tensor:
    half = network.spec.window // 2
    padded = torch.nn.functional.pad(slices, (0, 0, 0, 0, half, half), value=AIR)
    windows = padded.unfold(1, network.spec.window, 1).movedim(-1, 2)
    return torch.stack([network(w)[:, 0] for w in windows.unbind(1)], dim=1)


@pytest.mark.parametrize("spec", ZOO.values(), ids=lambda spec: spec.name)
@pytest.mark.parametrize("count", [1, 2, 7])
def test_equals_windows(spec: ModelSpec, count: int) -> None:
    network = _network(spec)
    scale = 1 if network.windows is None else 100  # HU
    slices = scale * torch.randn(2, count, SIDE_PX, SIDE_PX)
    with torch.inference_mode():
        whole = _logits(network, slices, batch_slices=5)
        windowed = _slice_by_slice(network, slices)
    assert whole.shape == (2, count, 6)
    assert torch.allclose(whole, windowed, atol=1e-5)


def test_centre_only_equals_single_slices() -> None:
    network = _network(ZOO["resnet18_400"])
    slices = torch.randn(1, 4, 64, 64)
    with torch.inference_mode():
        whole = _logits(network, slices, centre_only=True)
        single = torch.stack([network(s[None, None])[0, 0] for s in slices[0]])
    assert torch.allclose(whole[0], single, atol=2e-5)


@pytest.mark.parametrize("name", ["resnet18_400", "clf2Dc_resnet34_3x3", "clf2Dc_resnet50_7c_400"])
@pytest.mark.parametrize("batch_slices", [1, 7, 64])
def test_studies_that_share_batches_keep_their_predictions(name: str, batch_slices: int) -> None:
    network = _network(ZOO[name])
    studies = [
        torch.randn(variants, count, SIDE_PX, SIDE_PX)
        for variants, count in ((1, 3), (2, 1), (2, 5))
    ]
    with torch.inference_mode():
        together = list(whole_study_maps(network, studies, AIR, batch_slices=batch_slices))
        for study, maps in zip(studies, together, strict=True):
            assert torch.allclose(
                network.classify(maps).logits, _slice_by_slice(network, study), atol=2e-5
            )


def test_decoder_predicts_masks_for_every_slice_of_a_study() -> None:
    network = _network(ZOO["resnet18_384_5_planes_bn_f8"])
    study = torch.randn(2, 4, 64, 64)
    with torch.inference_mode():
        (maps,) = whole_study_maps(network, [study], AIR)
        output = network.classify(maps)
        window = torch.nn.functional.pad(study, (0, 0, 0, 0, 2, 2), value=AIR)[:, 1:6]
        assert torch.allclose(output.masks[:, 1], network.outputs(window).masks[:, 0], atol=1e-4)
    assert output.masks.shape == (2, 4, 7, 16, 16)
