"""Windows of HU as input channels, against the formula in numpy."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rsna19_kedro.networks.build import build_network
from rsna19_kedro.networks.input_size import InputSize
from rsna19_kedro.networks.network_input import (
    Draws,
    air_value,
    apply_windows,
    look_up,
    network_input,
    resample,
)
from rsna19_kedro.networks.tta_input import study_inputs
from rsna19_kedro.networks.whole_study import whole_study_maps
from rsna19_kedro.networks.zoo import ZOO

WINDOWS = ((40, 80), (80, 200), (600, 2800))
LUT = torch.linspace(-1, 1, 1401)
SIZE = InputSize(crop_px=64, resize_px=32, windows=WINDOWS)


def _windowed(hu: np.ndarray) -> np.ndarray:
    """One value per window, in a new second axis."""
    lows = [0, -20, -800]
    widths = [80, 200, 2800]
    parts = zip(lows, widths, strict=True)
    return np.stack([2 * np.clip((hu - low) / width, 0, 1) - 1 for low, width in parts], axis=1)


def _reduced(hu: np.ndarray) -> np.ndarray:
    """Mean of 2 x 2 pixels of the central 64 x 64 of ``(S, 70, 70)``."""
    return hu[:, 3:67, 3:67].reshape(len(hu), 32, 2, 32, 2).mean(axis=(2, 4))


def _study() -> np.ndarray:
    """Five slices with HU beyond every window, and beyond the look-up table."""
    return np.random.default_rng(0).integers(-2000, 3071, (5, 70, 70)).astype(np.int16)


def test_values_are_linear_in_each_window_and_ordered_by_slice() -> None:
    hu = torch.arange(-2000, 3072, dtype=torch.float32).view(1, 1, 16, -1)
    stack = torch.cat([hu, hu + 7, hu - 30], dim=1)
    expected = np.concatenate([_windowed((hu + shift).numpy()[:, 0]) for shift in (0, 7, -30)], 1)
    np.testing.assert_allclose(apply_windows(stack, WINDOWS).numpy(), expected, atol=1e-6)


def test_averages_are_those_of_hu() -> None:
    seen = network_input(torch.from_numpy(_study()), LUT, SIZE)
    np.testing.assert_allclose(seen.numpy(), _reduced(_study().astype(float)), atol=1e-3)


class _Recorder(nn.Module):
    """Encoder that returns its input, 9 channels, as feature maps."""

    def forward(self, stacks: Tensor) -> Tensor:
        return stacks


@pytest.mark.parametrize("name", ["maxvit_tiny_384", "clf2Dc_resnet34_3c"])
def test_encoder_sees_the_windows_of_three_slices_and_of_air(name: str) -> None:
    network = build_network(ZOO[name], size=SIZE).eval()
    network.encoder = _Recorder()
    seen = study_inputs(torch.from_numpy(_study()), LUT, SIZE, ["normal"], "s")
    (maps,) = whole_study_maps(network, [seen], air_value(LUT, SIZE))
    air = np.full((1, 3, 32, 32), -1.0)
    planes = np.concatenate([air, _windowed(_reduced(_study().astype(float))), air])
    expected = np.concatenate([planes[:-2], planes[1:-1], planes[2:]], axis=1)
    np.testing.assert_allclose(maps[-1][0].numpy(), expected, atol=1e-4)


def test_pixels_outside_a_shifted_slice_are_air() -> None:
    hu = torch.full((1, 1, 64, 64), 40, dtype=torch.int16)
    half = Draws(torch.zeros(1), torch.ones(1), torch.tensor([[0.5, 0.0]]), torch.ones(1, 2))
    image = look_up(hu, LUT, SIZE)
    moved = resample(image, air_value(LUT, SIZE), half, "air", SIZE)
    assert torch.allclose(moved[..., :15], torch.tensor(-1000.0), atol=1e-2)
    assert torch.allclose(moved[..., 17:], torch.tensor(40.0), atol=1e-2)


def test_a_new_stem_has_a_channel_per_window() -> None:
    network = build_network(ZOO["resnet18_400"], size=SIZE).eval()
    assert network.encoder.conv1.weight.shape == (64, 3, 7, 7)
    with torch.inference_mode():
        assert network(100 * torch.randn(1, 5, 32, 32)).shape == (1, 1, 6)
