"""Checkpoints: round trip, and messages for files that are not checkpoints."""

import pytest
import torch
from safetensors.torch import save_file

from rsna19_kedro.errors import InputError
from rsna19_kedro.networks.build import build_network
from rsna19_kedro.networks.checkpoint import Checkpoint
from rsna19_kedro.networks.zoo import ZOO


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
