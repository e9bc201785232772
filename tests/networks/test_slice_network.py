"""The slice network against closed forms: its weights, its taps, its windows."""

import pytest
import torch

from rsna19_kedro.errors import InputError
from rsna19_kedro.networks.encoders import build_encoder
from rsna19_kedro.networks.slice_network import Combiner, SliceNetwork
from rsna19_kedro.networks.zoo import ZOO

# Reference, section 4a: weights that take part in the computation.
WEIGHTS = {"resnet18_400": 11_828_934, "clf2Dc_resnet34_3c": 21_290_822}


@pytest.mark.parametrize("name", ZOO)
def test_every_weight_of_the_reference_gets_a_gradient(name: str) -> None:
    network = SliceNetwork(ZOO[name])
    with torch.no_grad():  # The zero side taps would hide a tap that is never used.
        if network.combiner is not None:
            network.combiner.conv.weight.normal_(std=0.01)
    network(torch.randn(2, ZOO[name].window, 64, 64)).square().sum().backward()
    reached = sum(p.numel() for p in network.parameters() if p.grad is not None)
    assert reached == WEIGHTS[name]


def test_combiner_starts_as_its_centre_tap() -> None:
    combiner = Combiner(features=3, combined=2, taps=5, dilation=1)
    maps = torch.randn(1, 5, 3, 4, 4)
    assert torch.allclose(combiner(maps), combiner(maps[:, 2:3]))


@pytest.mark.parametrize(("taps", "dilation"), [(5, 1), (3, 1), (3, 3)])
def test_combiner_is_the_convolution_over_slices(taps: int, dilation: int) -> None:
    combiner = Combiner(features=3, combined=2, taps=taps, dilation=dilation)
    torch.nn.init.normal_(combiner.conv.weight)
    torch.nn.init.normal_(combiner.conv.bias)
    maps = torch.randn(2, 9, 3, 4, 5)
    expected = combiner.conv(maps.transpose(1, 2)).transpose(1, 2)
    assert torch.allclose(combiner(maps), expected, atol=1e-5)


def test_single_slice_equals_the_centre_of_a_window_at_the_start() -> None:
    network = SliceNetwork(ZOO["resnet18_400"]).eval()
    window = torch.randn(2, 5, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(network(window), network(window[:, 2:3]), atol=1e-5)


def test_channels_are_neighbouring_slices_in_their_order() -> None:
    network = SliceNetwork(ZOO["clf2Dc_resnet34_3c"]).eval()
    volume = torch.randn(1, 5, 64, 64)
    with torch.inference_mode():
        maps = network.encode(volume)
        second = network.encoder(volume[:, 1:4])
    assert maps.shape[1] == 3
    assert torch.allclose(maps[:, 1], second, atol=1e-5)


def test_stem_takes_the_models_channels_and_may_stay_random(tmp_path) -> None:
    torch.manual_seed(0)
    donor, _ = build_encoder("resnet18", 3, pretrained=False, new_stem=False)
    path = tmp_path / "weights.pt"
    head = {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    torch.save(donor.state_dict() | head, path)
    kept, features = build_encoder("resnet18", 3, pretrained=str(path), new_stem=False)
    fresh, _ = build_encoder("resnet18", 1, pretrained=str(path), new_stem=True)
    assert features == 512
    assert torch.equal(kept.conv1.weight, donor.conv1.weight)
    assert fresh.conv1.weight.shape == (64, 1, 7, 7)
    assert not torch.allclose(fresh.conv1.weight, donor.conv1.weight.sum(1, keepdim=True))
    assert torch.equal(fresh.layer4[1].conv2.weight, donor.layer4[1].conv2.weight)


def test_unknown_encoder_is_named() -> None:
    with pytest.raises(InputError, match=r"resnet19.*resnet18"):
        build_encoder("resnet19", 1, pretrained=False, new_stem=False)


def test_missing_weight_file_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match=r"absent\.pt"):
        build_encoder("resnet18", 1, pretrained=str(tmp_path / "absent.pt"), new_stem=False)
