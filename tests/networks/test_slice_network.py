"""The networks against closed forms: parameters, taps and windows."""

from dataclasses import replace

import pytest
import torch

from recipes import input_of
from rsna19_kedro.networks.build import build_network, start_from
from rsna19_kedro.networks.input_size import InputSize
from rsna19_kedro.networks.slice_network import Combiner, SliceNetwork
from rsna19_kedro.networks.zoo import ZOO

pytestmark = pytest.mark.slow

# docs/reference.md#networks: parameters that take part in the computation.
PARAMETERS = {
    "resnet18_400": 11_828_934,
    "resnet34_400_5_planes_combine_last_var_dr0": 21_937_094,
    "airnet50_384": 24_977_766,
    "se_preresnext26b_400": 16_645_542,
    "resnext50_400": 28_126_838,
    "resnet18_384_5_planes_bn_f8": 12_250_477,
    "dpn68_384_5_planes_combine_last": 12_846_716,
    "clf2Dc_resnet34_3c": 21_290_822,
    "clf2Dc_resnet50_3c_384": 25_535_478,
    "clf2Dc_resnet34_3x3": 21_681_222,
    "clf2Dc_resnet50_7c_400": 25_548_022,
    "clf2Dc_resnet34_3x3_2": 21_681_222,
    "clf2Dc_resnet34_3x3_5_slices": 21_681_222,
}
assert PARAMETERS.keys() == {name for name, spec in ZOO.items() if spec.reference}
SEGMENTATION = ZOO["resnet18_384_5_planes_bn_f8"]


def _with_side_taps(network: SliceNetwork) -> SliceNetwork:
    """Initialise the side taps: zeros would hide a wrong or unused tap."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, Combiner):
                module.conv.weight.normal_(std=0.01)
    return network


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_parameter_of_the_reference_gets_a_gradient(name: str) -> None:
    network = _with_side_taps(build_network(ZOO[name]))
    network(torch.randn(2, ZOO[name].window, 64, 64)).square().sum().backward()
    with_gradient = sum(p.numel() for p in network.parameters() if p.grad is not None)
    assert with_gradient == PARAMETERS[name]


@pytest.mark.parametrize("name", ZOO)
def test_a_volume_gives_the_logits_of_each_window(name: str) -> None:
    network = _with_side_taps(build_network(ZOO[name], size=input_of(name, 64))).eval()
    window = ZOO[name].window
    volume = (1 if network.windows is None else 100) * torch.randn(1, window + 2, 64, 64)
    with torch.inference_mode():
        whole = network(volume)
        each = [network(volume[:, first : first + window])[:, 0] for first in range(3)]
    assert whole.shape == (1, 3, 6)
    assert torch.allclose(whole, torch.stack(each, dim=1), atol=2e-5)


PLANES = [name for name, spec in ZOO.items() if spec.taps == 5]


@pytest.mark.parametrize("name", PLANES)
def test_a_single_slice_is_the_centre_tap(name: str) -> None:
    network = _with_side_taps(build_network(ZOO[name])).eval()
    window = torch.randn(2, 5, 64, 64)
    with torch.inference_mode():
        single = network(window[:, 2:3])
        assert not torch.allclose(network(window), single, atol=1e-3)
        for module in network.modules():
            if isinstance(module, Combiner):
                module.conv.weight[:, :, [0, 1, 3, 4]] = 0
        assert torch.allclose(network(window), single, atol=1e-5)


@pytest.mark.parametrize("name", PLANES)
def test_side_taps_start_at_zero_but_for_the_volume_model(name: str) -> None:
    network = build_network(ZOO[name])
    for module in network.modules():
        if isinstance(module, Combiner):
            zero = bool((module.conv.weight[:, :, [0, 1, 3, 4]] == 0).all())
            assert zero == (ZOO[name].encoder != "dpn68b")


@pytest.mark.parametrize(("taps", "dilation"), [(5, 1), (3, 1), (3, 3)])
def test_combiner_is_the_convolution_over_slices(taps: int, dilation: int) -> None:
    spec = replace(ZOO["resnet18_400"], taps=taps, dilation=dilation)
    combiner = Combiner(3, 2, spec)
    torch.nn.init.normal_(combiner.conv.weight)
    torch.nn.init.normal_(combiner.conv.bias)
    maps = torch.randn(2, 9, 3, 4, 5)
    expected = combiner.conv(maps.transpose(1, 2)).transpose(1, 2)
    assert torch.allclose(combiner(maps), expected, atol=1e-5)


def test_channels_are_neighbouring_slices_in_their_order() -> None:
    network = build_network(ZOO["clf2Dc_resnet34_3c"]).eval()
    volume = torch.randn(1, 5, 64, 64)
    with torch.inference_mode():
        (maps,) = network.encode(volume)
        second = network.encoder(volume[:, 1:4])
    assert maps.shape[1] == 3
    assert torch.allclose(maps[:, 1], second, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "branches"),
    [
        ("clf2Dc_resnet34_3x3", [(-4, -2), (-1, 1), (2, 4)]),
        ("clf2Dc_resnet34_3x3_5_slices", [(-2, 0), (-1, 1), (0, 2)]),
    ],
)
def test_three_branches_are_joined_by_a_1x1_convolution(name: str, branches) -> None:
    network = build_network(ZOO[name]).eval()
    middle = ZOO[name].window // 2
    slices = torch.randn(1, ZOO[name].window, 64, 64)
    weight = network.combiner.conv.weight  # (256, F, 3, 1, 1)
    with torch.inference_mode():
        maps = [network.encoder(slices[:, middle + a : middle + b + 1]) for a, b in branches]
        joined = torch.nn.functional.conv2d(
            torch.cat(maps, dim=1),
            torch.cat([weight[:, :, tap] for tap in range(3)], dim=1),
            network.combiner.conv.bias,
        )
        (combined,) = network.combine(network.encode(slices))
    assert torch.allclose(combined[:, 0], joined, atol=1e-4)


@pytest.mark.parametrize("windows", [None, ((40, 80), (50, 300))])
def test_7c_initialised_from_3c_uses_the_middle_three_slices(windows) -> None:
    size = InputSize(crop_px=64, windows=windows)
    parent = build_network(ZOO["clf2Dc_resnet50_3c_384"], size=size).eval()
    child = build_network(ZOO["clf2Dc_resnet50_7c_400"], size=size).eval()
    head = child.head.weight.clone()
    start_from(child, parent.state_dict())
    slices = 40 * torch.randn(2, 7, 64, 64)
    with torch.inference_mode():
        (maps,) = child.encode(slices)
        (expected,) = parent.encode(slices[:, 2:5])
    assert torch.allclose(maps, expected, atol=1e-4)
    assert torch.equal(child.head.weight, head)


def test_decoder_predicts_seven_masks_at_quarter_size_and_passes_their_areas_to_the_head() -> None:
    network = _with_side_taps(build_network(SEGMENTATION)).eval()
    seen = {}
    network.head.register_forward_pre_hook(lambda _, inputs: seen.update(pooled=inputs[0]))
    with torch.inference_mode():
        output = network.outputs(torch.randn(2, 6, 96, 64))
        levels = network.combine(network.encode(torch.randn(2, 6, 96, 64)))
    assert [level.shape[2:] for level in levels] == [(64, 12, 8), (128, 6, 4), (256, 3, 2)]
    assert output.masks.shape == (2, 2, 7, 24, 16)
    assert output.logits.shape == (2, 2, 6)
    sums = torch.sigmoid(output.masks).sum(dim=(3, 4)).flatten(0, 1)
    assert seen["pooled"].shape == (4, 2 * 256 + 7)
    assert torch.allclose(seen["pooled"][:, -7:], sums, atol=1e-3)
