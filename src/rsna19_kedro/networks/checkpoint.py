"""A trained model in one file: weights, configuration and look-up table.

Torch is imported only when a file is read or written, so that importing this module is fast.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from rsna19_kedro.commands import kedro_run
from rsna19_kedro.errors import ModelError, counted
from rsna19_kedro.files import atomic_path, unmounted
from rsna19_kedro.networks.input_size import InputSize, Windows
from rsna19_kedro.networks.zoo import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor

    from rsna19_kedro.networks.slice_network import SliceNetwork

FORMAT = "rsna19_kedro checkpoint 2"
_PREVIOUS_FORMAT = "rsna19_kedro checkpoint 1"
_HEADER = "checkpoint"
_LUT = "hu_lut"
_WEIGHTS = "network."


@dataclass(frozen=True, repr=False)
class Checkpoint:
    """Everything that prediction needs; nothing is pickled.

    Attributes:
        spec: Architecture of the network.
        weights: Its ``state_dict``, on the CPU.
        hu_lut: ``(1401,)`` float32, network input of HU -400..1000; not used with windows.
        crop_px: Side of the square that the network sees, in pixels of the prepared volume.
        resize_px: Side after reduction; equal to ``crop_px`` if there is none.
        metadata: Fold, epoch, validation loss, recipe, versions and training data
            (``training_data.describe_training_data``).
        windows: See ``InputSize``.
    """

    spec: ModelSpec
    weights: "dict[str, Tensor]"
    hu_lut: "Tensor"
    crop_px: int
    resize_px: int
    metadata: dict[str, Any] = field(default_factory=dict)
    windows: Windows | None = None

    @property
    def input_size(self) -> InputSize:
        """Input of the network."""
        return InputSize(crop_px=self.crop_px, resize_px=self.resize_px, windows=self.windows)

    def __repr__(self) -> str:
        known, size = self.metadata, sum(value.numel() for value in self.weights.values())
        data, loss = known.get("training_data") or {}, known.get("val_loss")
        parts = [counted(int(data[key]), key[:-1]) for key in ("patients", "slices") if key in data]
        heads = "synthetic heads" if data.get("synthetic") else "real CT"
        trained = f"{' and '.join(parts)} of {heads}" if parts else "not recorded"
        score = "not recorded" if loss is None else f"{loss:.4f} at epoch {known.get('epoch')}"
        shown = f", {counted(len(self.windows), 'window')} of HU" if self.windows else ""
        versions = [f"{name} {number}" for name, number in (known.get("versions") or {}).items()]
        return "\n".join(
            [
                f"{self.spec.name}, fold {known.get('fold', '?')}: {self.spec.encoder}, "
                f"{size / 1e6:.1f} M parameters",
                f"  input: {self.spec.taps} x {self.crop_px} x {self.crop_px} px, "
                f"reduced to {self.resize_px} x {self.resize_px}{shown}",
                f"  trained on: {trained}, labels {known.get('labels', '?')}",
                f"  validation loss: {score}",
                "  " + ", ".join([f"precision {known.get('precision', '?')}", *versions]),
            ]
        )

    def network(self) -> "SliceNetwork":
        """Build the network with these weights, in evaluation mode, on the CPU."""
        from rsna19_kedro.networks.build import build_network

        network = build_network(self.spec, size=self.input_size)
        network.load_state_dict(self.weights)
        return network.eval()

    def check_fits(self, model: str, size: InputSize) -> None:
        """Raise if the checkpoint is of another model, resolution or windows.

        Args:
            model: Name of the expected model.
            size: Expected input; its crop may differ.

        Raises:
            ModelError: The checkpoint does not fit; the message says what to do.
        """
        actual, expected = _scale(self.input_size), _scale(size)
        if self.spec.name == model and actual == expected:
            return
        raise ModelError(
            f"The checkpoint of {self.spec.name} ({actual}) does not fit {model} ({expected}). "
            f"Delete it and train {model} again with this environment's recipe."
        )

    def write(self, path: Path) -> None:
        """Write one safetensors file, atomically."""
        from safetensors.torch import save_file

        tensors = {f"{_WEIGHTS}{name}": value.contiguous() for name, value in self.weights.items()}
        tensors[_LUT] = self.hu_lut.contiguous()
        content = {
            "format": FORMAT,
            "spec": asdict(self.spec),
            "input": self.input_size.model_dump(exclude={"random_crop"}, exclude_none=True),
            "metadata": self.metadata,
        }
        # One key, because safetensors writes several in a random order.
        header = {_HEADER: json.dumps(content, sort_keys=True)}
        with atomic_path(path) as part:
            save_file(tensors, part, metadata=header)

    @classmethod
    def read(cls, path: Path) -> "Checkpoint":
        """Read a file written by ``write``.

        Raises:
            ModelError: The file is missing, damaged or not such a checkpoint.
        """
        with _open_file(path) as file:
            content = _read_header(path, file)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        size = InputSize(**content["input"])
        return cls(
            spec=ModelSpec(**content["spec"]),
            weights={
                name.removeprefix(_WEIGHTS): value
                for name, value in tensors.items()
                if name.startswith(_WEIGHTS)
            },
            hu_lut=tensors[_LUT].float(),
            crop_px=size.crop_px,
            resize_px=size.network_px,
            metadata=content["metadata"],
            windows=size.windows,
        )


def _scale(size: InputSize) -> str:
    """Reduction factor and windows, for messages and comparisons."""
    windows = "" if size.windows is None else f", windows {size.windows}"
    return f"reduction factor {size.crop_px / size.network_px:g}{windows}"


def read_metadata(path: Path) -> dict[str, Any]:
    """Read only the metadata of a checkpoint (about 1 ms).

    Raises:
        ModelError: As ``Checkpoint.read``.
    """
    with _open_file(path) as file:
        metadata: dict[str, Any] = _read_header(path, file)["metadata"]
    return metadata


@contextmanager
def _open_file(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise ModelError(
            f"There is no checkpoint {path}."
            + (unmounted(path) or f" Train it first: {_how_to_train(path)}")
        )
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ModelError(
            f"The checkpoint {path} is damaged ({error}). Delete it, then train it again: "
            f"{_how_to_train(path)}"
        ) from error


def _how_to_train(path: Path) -> str:
    """The command that trains the model and fold of a checkpoint."""
    fold, model = path.parent.name, path.parent.parent.name
    chosen = {"models": model, "fold": fold[-1]} if fold.startswith("fold_") else {}
    return kedro_run("--pipelines", "cnn_training", "--only-missing-outputs", **chosen)


def _read_header(path: Path, file: Any) -> dict[str, Any]:
    """Return the header of a file of this format version or the previous one."""
    header: dict[str, str] = file.metadata() or {}
    if header.get("format") == _PREVIOUS_FORMAT:
        parts = {key: json.loads(header[key]) for key in ("spec", "input", "metadata")}
        return {"format": _PREVIOUS_FORMAT, **parts}
    content: dict[str, Any] = json.loads(header.get(_HEADER, "{}"))
    if content.get("format") != FORMAT:
        file_format = content.get("format", header.get("format"))
        raise ModelError(
            f"{path} is not a checkpoint of this version: its format is {file_format!r}, expected "
            f"{FORMAT!r}. Delete it, then train the model again: {_how_to_train(path)}"
        )
    return content
