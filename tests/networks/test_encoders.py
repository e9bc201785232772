"""Encoders, their stems and initial weights."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rsna19_kedro.errors import InputError, ParameterError
from rsna19_kedro.networks import weights as weights_module
from rsna19_kedro.networks.encoders import (
    ENCODERS,
    CappedAveragePool,
    build_encoder,
    save_all,
    stem_of_channels,
)
from rsna19_kedro.networks.weights import WeightSource, imagenet_weights
from rsna19_kedro.networks.zoo import SIDE_MULTIPLES

pytestmark = pytest.mark.slow

MAXVIT = "maxvit_tiny_tf_384"


def _whole_network(name: str) -> nn.Module:
    """The library's ImageNet network with head and random weights."""
    source = ENCODERS[name].weights
    if source.library == "timm":
        import timm

        return timm.create_model(source.name, pretrained=False)
    from pytorchcv.model_provider import get_model

    return get_model(source.name, pretrained=False)


@pytest.mark.parametrize("name", ENCODERS)
def test_weights_of_the_whole_imagenet_network_load_from_file_or_folder(
    name: str, tmp_path
) -> None:
    torch.manual_seed(1)
    state = _whole_network(name).state_dict()
    path = tmp_path / f"{ENCODERS[name].weights.name}.pth"
    torch.save(state, path)
    encoder, features = build_encoder(name, 3, new_stem=False, weights=str(path))
    again, _ = build_encoder(
        name, 3, new_stem=False, weights="imagenet", weights_folder=str(tmp_path)
    )
    for (key, value), other in zip(
        encoder.state_dict().items(), again.state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), key
    prefix = "features." if ENCODERS[name].weights.library == "pytorchcv" else ""
    for key, value in encoder.state_dict().items():
        assert torch.equal(value, state[prefix + key]), key
    side = int(name[-3:]) if name in SIDE_MULTIPLES else 64
    with torch.inference_mode():
        maps = encoder.eval()(torch.randn(1, 3, side, side))
    assert maps.shape[1] == features


STEMS = {
    "resnet18": (64, 7),
    "resnet18_3_stages": (64, 7),
    "resnet34": (64, 7),
    "seresnext50": (64, 3),
    "dpn68b": (10, 3),
    "airnet50": (32, 3),
    "sepreresnetbc26b": (64, 7),
    "maxvit_tiny_tf_384": (64, 3),
    "maxvit_tiny_tf_512": (64, 3),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_new_stem_is_that_of_the_reference_and_the_rest_keeps_its_weights(
    name: str, tmp_path
) -> None:
    whole = _whole_network(name)
    path = tmp_path / "weights.pth"
    torch.save(whole.state_dict(), path)
    encoder, _ = build_encoder(name, 1, new_stem=True, weights=str(path))
    source = ENCODERS[name]
    conv = encoder.get_submodule(source.first_conv)
    features, kernel = STEMS[name]
    assert tuple(conv.weight.shape) == (features, 1, kernel, kernel)
    assert (conv.stride, conv.bias) == ((2, 2), None)
    same = build_encoder(name, 3, new_stem=False, weights=str(path))[0].state_dict()
    for key, value in encoder.state_dict().items():
        if not key.startswith(source.first_conv):
            assert torch.equal(value, same[key]), key


def test_grey_image_gives_the_same_features_with_one_channel(tmp_path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(_whole_network("resnet18").state_dict(), path)
    three, _ = build_encoder("resnet18", 3, new_stem=False, weights=str(path))
    one, _ = build_encoder("resnet18", 1, new_stem=False, weights=str(path))
    grey = torch.randn(1, 1, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(three.eval()(grey.expand(-1, 3, -1, -1)), one.eval()(grey), atol=1e-4)


def test_stem_of_seven_channels_has_the_weights_in_its_middle_three() -> None:
    weight = torch.randn(4, 3, 5, 5)
    wide = stem_of_channels(weight, 7)
    assert torch.equal(wide[:, 2:5], weight)
    assert wide.abs().sum() == pytest.approx(weight.abs().sum().item())


@pytest.mark.parametrize("name", ["resnet18", MAXVIT])
def test_equal_slices_in_three_windows_give_the_features_of_a_colour_image(
    name: str, tmp_path
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(_whole_network(name).state_dict(), path)
    options = {"new_stem": False, "weights": str(path), "side_px": 64}
    one, _ = build_encoder(name, 1, windows=3, **options)
    three, _ = build_encoder(name, 3, windows=3, **options)
    colour = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        maps = one.eval()(colour)
        assert torch.allclose(three.eval()(colour.repeat(1, 3, 1, 1)), maps, atol=1e-4)
        assert torch.equal(build_encoder(name, 3, **options)[0].eval()(colour), maps)


def test_position_tables_are_interpolated_to_the_side_of_the_input(tmp_path) -> None:
    """Tables that are linear in the relative position stay linear."""
    state = _whole_network(MAXVIT).state_dict()
    tables = [key for key in state if key.endswith("relative_position_bias_table")]
    assert len(tables) == 2 * (2 + 2 + 5 + 2)  # Two per block.
    for key in tables:
        state[key] = _ramp(state[key])
    torch.save(state, tmp_path / "weights.pth")
    options = {"new_stem": False, "weights": str(tmp_path / "weights.pth")}
    smaller = build_encoder(MAXVIT, 3, side_px=64, **options)[0].state_dict()
    for key in tables:
        assert smaller[key].shape[1:] == (3, 3)
        assert torch.allclose(smaller[key], _ramp(smaller[key]), atol=1e-6), key


def _ramp(table: torch.Tensor) -> torch.Tensor:
    """A table of the same shape that rises from left to right."""
    columns = table.shape[-1]
    return ((torch.arange(columns) + 0.5) / columns).expand(table.shape).contiguous()


@pytest.mark.parametrize(("side_px", "near"), [(400, "384 or 416"), (20, "32")])
def test_side_that_does_not_fit_maxvit_is_refused(side_px: int, near: str) -> None:
    with pytest.raises(ParameterError, match=rf"multiple of 32 px, such as {near}, not {side_px}"):
        build_encoder(MAXVIT, 3, new_stem=False, side_px=side_px)


def test_average_pool_is_capped_to_the_map() -> None:
    pool = CappedAveragePool(7)
    maps = torch.randn(1, 2, 12, 12)
    assert torch.allclose(pool(maps), nn.functional.avg_pool2d(maps, 7, stride=1))
    small = torch.randn(1, 2, 2, 3)
    assert torch.allclose(pool(small), small.mean(dim=(2, 3), keepdim=True))


def test_unknown_encoder_is_named() -> None:
    with pytest.raises(InputError, match=r"resnet19.*resnet18"):
        build_encoder("resnet19", 1, new_stem=False)


def test_missing_damaged_and_unrelated_files_are_named(tmp_path) -> None:
    with pytest.raises(InputError, match=r"absent\.pt"):
        build_encoder("resnet18", 1, new_stem=False, weights=str(tmp_path / "absent.pt"))
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"damaged\.pth cannot be read"):
        build_encoder("resnet18", 1, new_stem=False, weights=str(damaged))
    foreign = tmp_path / "foreign.safetensors"
    save_file({"conv1.weight": torch.zeros(64, 3, 7, 7)}, foreign)
    with pytest.raises(InputError, match=r"do not fit resnet18\.tv_in1k"):
        build_encoder("resnet18", 1, new_stem=False, weights=str(foreign))


@pytest.mark.parametrize(
    ("source", "file", "site"),
    [
        (WeightSource("timm", "resnet18.tv_in1k"), "timm/resnet18.tv_in1k", "Hugging Face"),
        (WeightSource("pytorchcv", "airnet50_1x64d_r16"), "airnet50_1x64d_r16-", "GitHub"),
    ],
)
def test_failed_download_names_file_site_and_settings(
    monkeypatch, source: WeightSource, file: str, site: str
) -> None:
    def offline(_: WeightSource) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(weights_module, "_download", offline)
    with pytest.raises(InputError, match="no route to host") as caught:
        imagenet_weights(source)
    for part in (file, site, "training.weights_folder", "initial_weights: null"):
        assert part in str(caught.value)


def test_folder_of_all_weights_is_written_and_read(monkeypatch, tmp_path) -> None:
    by_name = {encoder.weights.name: name for name, encoder in ENCODERS.items()}
    downloads = []

    def library(source: WeightSource) -> dict:
        downloads.append(source.name)
        return _whole_network(by_name[source.name]).state_dict()

    monkeypatch.setattr(weights_module, "_download", library)
    save_all(str(tmp_path))
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(by_name)
    downloads.clear()
    for name in ENCODERS:
        build_encoder(name, 3, new_stem=False, weights="imagenet", weights_folder=str(tmp_path))
    assert not downloads
