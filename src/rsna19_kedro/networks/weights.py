"""Initial weights of the encoders: ImageNet's, those of a file, or of the packaged small model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from torch import Tensor

from rsna19_kedro.errors import ModelError
from rsna19_kedro.networks.zoo import SMALL_CHECKPOINT

IMAGENET: Final = "imagenet"
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


@dataclass(frozen=True)
class WeightSource:
    """An architecture with ImageNet weights.

    Attributes:
        library: ``timm`` (Hugging Face hub) or ``pytorchcv`` (GitHub releases).
        name: Name in the library, and of the file in a folder of weights.
    """

    library: Literal["timm", "pytorchcv"]
    name: str


def imagenet_weights(
    source: WeightSource, wanted: str = IMAGENET, folder: str | None = None
) -> dict[str, Tensor]:
    """Return the weights of the whole ImageNet network, named like the encoder's modules.

    Args:
        source: Architecture and weights.
        wanted: ``imagenet``, or the path of a file.
        folder: Searched first for ``<name>.safetensors`` (or .pth, .pt, .bin).

    Raises:
        ModelError: A file is missing or cannot be read, or a download failed; the message
            says which file is needed, where to get it and where to put it.
    """
    if wanted != IMAGENET:
        return _read(Path(wanted))
    if folder is not None:
        for suffix in _SUFFIXES:
            path = Path(folder) / f"{source.name}{suffix}"
            if path.is_file():
                return _read(path)
    try:
        return _rename(_download(source))
    except Exception as error:  # The libraries raise whatever their network code raises.
        raise ModelError(_explain_failed_download(source, folder, error)) from error


def synthetic_weights() -> dict[str, Tensor]:
    """Return the encoder weights of the packaged small model, named like the encoder's modules."""
    from safetensors.torch import load_file

    prefix = "network.encoder."
    state = load_file(SMALL_CHECKPOINT)
    return {
        name.removeprefix(prefix): value.float()
        for name, value in state.items()
        if name.startswith(prefix)
    }


def _download(source: WeightSource) -> Mapping[str, Any]:
    if source.library == "timm":
        import timm

        return timm.create_model(source.name, pretrained=True).state_dict()
    import torch
    from pytorchcv.models.common.model_store import get_model_file

    return torch.load(get_model_file(source.name), map_location="cpu", weights_only=True)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelError(f"The initial weights file {path} does not exist.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return _rename(load_file(path))
        import torch

        return _rename(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # Unpickling raises anything.
        raise ModelError(f"The initial weights file {path} cannot be read: {error}") from error


def _rename(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Rename weights as in the encoder: pytorchcv's encoder is the submodule ``features``."""
    inner = state.get("state_dict", state)
    if any(name.startswith("features.init_block.") for name in inner):
        inner = {name.removeprefix("features."): value for name, value in inner.items()}
    return {name: value for name, value in inner.items() if isinstance(value, Tensor)}


def _explain_failed_download(source: WeightSource, folder: str | None, error: Exception) -> str:
    where = {
        "timm": f"model.safetensors of 'timm/{source.name}' on the Hugging Face hub",
        "pytorchcv": f"'{source.name}-*.pth.zip' (unpacked) of the releases of osmr/imgclsmob on "
        "GitHub",
    }[source.library]
    put = (
        f"put it into {folder}"
        if folder
        else "put it into a folder and pass --params training.weights_folder=FOLDER"
    )
    return (
        f"The ImageNet weights {source.name} could not be downloaded ({type(error).__name__}: "
        f"{str(error).splitlines()[0][:120] if str(error) else 'no message'}). Without "
        f"internet, download {where} on another machine, save it as {source.name}.safetensors "
        f"(or .pth) and {put}. docs/recipes.md has a command that downloads all of them. To start "
        "from random weights instead, set initial_weights: null in the model's YAML."
    )
