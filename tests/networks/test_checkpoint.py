"""Checkpoints: round trip, and messages for files that are not checkpoints."""

import pytest
import torch
from safetensors.torch import save_file

from rsna19_kedro.errors import InputError, ModelError
from rsna19_kedro.networks.build import build_network
from rsna19_kedro.networks.checkpoint import Checkpoint
from rsna19_kedro.networks.input_size import InputSize
from rsna19_kedro.networks.zoo import ZOO

WINDOWS = ((40, 80), (80, 200), (600, 2800))


def test_round_trip_gives_the_same_logits(tmp_path) -> None:
    network = build_network(ZOO["resnet18_400"]).eval()
    lut = torch.linspace(-1, 1, 1401)
    path = tmp_path / "deep" / "checkpoint.safetensors"
    Checkpoint(network.spec, network.state_dict(), lut, 400, 80, {"fold": 2}).write(path)
    back = Checkpoint.read(path)
    window = torch.randn(1, 5, 64, 64)
    with torch.inference_mode():
        assert torch.equal(back.network()(window), network(window))
    assert (back.crop_px, back.resize_px, back.metadata) == (400, 80, {"fold": 2})
    assert torch.equal(back.hu_lut, lut)


def test_windows_and_side_are_in_the_checkpoint(tmp_path) -> None:
    """Also for an encoder that is built for one side."""
    size = InputSize(crop_px=128, resize_px=64, windows=WINDOWS)
    network = build_network(ZOO["maxvit_tiny_384"], size=size).eval()
    path, lut = tmp_path / "checkpoint.safetensors", torch.zeros(1401)
    Checkpoint(network.spec, network.state_dict(), lut, 128, 64, windows=WINDOWS).write(path)
    back = Checkpoint.read(path)
    hu = 100 * torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(back.network()(hu), network(hu))
    assert back.input_size == size
    assert "reduced to 64 x 64, 3 windows of HU" in repr(back)
    back.check_fits("maxvit_tiny_384", size.model_copy(update={"random_crop": True}))
    with pytest.raises(ModelError, match=r"factor 2, windows \(\(40.* does not fit .*factor 2\)"):
        back.check_fits("maxvit_tiny_384", InputSize(crop_px=128, resize_px=64))


def test_missing_file_says_how_to_train(tmp_path) -> None:
    with pytest.raises(InputError, match="cnn_training"):
        Checkpoint.read(tmp_path / "checkpoint.safetensors")


def test_damaged_file_is_named(tmp_path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(b"not safetensors")
    with pytest.raises(InputError, match="damaged"):
        Checkpoint.read(path)


def test_file_of_another_program_is_refused(tmp_path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="format"):
        Checkpoint.read(path)
