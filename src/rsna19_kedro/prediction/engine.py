"""A trained network on a device, ready to predict studies."""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rsna19_kedro.errors import ParameterError
from rsna19_kedro.networks.checkpoint import Checkpoint
from rsna19_kedro.networks.encoders import ENCODERS
from rsna19_kedro.networks.evidence import class_evidence
from rsna19_kedro.networks.folding import fold_batch_norms
from rsna19_kedro.networks.input_size import InputSize
from rsna19_kedro.networks.network_input import air_value
from rsna19_kedro.networks.slice_network import Maps, SliceNetwork
from rsna19_kedro.networks.tta_input import study_inputs
from rsna19_kedro.networks.whole_study import whole_study_maps
from rsna19_kedro.networks.zoo import SIDE_MULTIPLES
from rsna19_kedro.prediction.settings import Precision, PredictionSettings

_CPU_BATCH, _GPU_BATCH = 32, 64
HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
_CPU_INFO = Path("/proc/cpuinfo")
_SIDE_PX = 64
"""Side of the image that shows which layers follow each other, for encoders of any input."""


class Study(NamedTuple):
    """A prepared study.

    Attributes:
        study_id: Its name, which seeds random test-time augmentations.
        hu: ``(S, H, W)`` int16.
    """

    study_id: str
    hu: np.ndarray


class Prediction(NamedTuple):
    """Prediction of a study by one network.

    Attributes:
        study_id: Its name.
        probabilities: ``(V, S, 6)`` float32.
        evidence: Class activation maps ``(S, 6, h, w)`` float32 of the first test-time
            augmentation, see ``class_evidence``; ``None`` unless requested.
        areas: ``(V, S, 7)`` float32 share of the input that each predicted mask covers (the
            mean of its sigmoid); ``None`` for networks without masks.
    """

    study_id: str
    probabilities: np.ndarray
    evidence: np.ndarray | None = None
    areas: np.ndarray | None = None


@dataclass(frozen=True)
class Engine:
    """A network in evaluation mode with everything that prediction needs.

    Attributes:
        network: On its device.
        hu_lut: ``(1401,)`` float32, on the device.
        size: The network's input.
        variants: Names of the test-time augmentations.
        settings: Settings of the device.
        precision: Precision on the device, see ``find_precision``.
    """

    network: SliceNetwork
    hu_lut: torch.Tensor
    size: InputSize
    variants: tuple[str, ...]
    settings: PredictionSettings
    precision: Precision

    @classmethod
    def of(
        cls, checkpoint: Checkpoint, variants: Sequence[str], settings: PredictionSettings
    ) -> "Engine":
        """Build the checkpoint's network on the device of the settings.

        Channels-last memory is at least as fast as PyTorch's default for every model of the zoo,
        on GPUs and CPUs (docs/new_study.md#speed-and-memory).

        Raises:
            ParameterError: A GPU is required, but there is none.
        """
        device = find_device(settings)
        network, size = checkpoint.network(), checkpoint.input_size
        precision = find_precision(settings)
        if device.type == "cpu":
            channels = network.spec.channels * len(size.windows or [None])
            fixed = network.spec.encoder in SIDE_MULTIPLES
            fold_batch_norms(network.encoder, channels, size.network_px if fixed else _SIDE_PX)
            if precision in HALF:
                first = ENCODERS[network.spec.encoder].first_conv
                conv = network.encoder.get_submodule(first)
                network.encoder.set_submodule(first, _SinglePrecision(conv))
        network.to(device).encoder.to(memory_format=torch.channels_last)
        lut = checkpoint.hu_lut.to(device)
        return cls(network, lut, size, tuple(variants), settings, precision)

    @property
    def batch_slices(self) -> int:
        """Slices per batch of the encoder."""
        on_gpu = self.hu_lut.device.type == "cuda"
        return self.settings.batch_slices or (_GPU_BATCH if on_gpu else _CPU_BATCH)

    def predict(
        self, studies: Iterable[Study], *, with_evidence: bool = False
    ) -> Iterator[Prediction]:
        """Predict studies; the next ones are read while the device computes.

        Args:
            studies: Read lazily, in a thread.
            with_evidence: Whether to add class activation maps.

        Yields:
            One prediction per study, in order.
        """
        half = HALF.get(self.precision)
        lut, device = self.hu_lut, self.hu_lut.device
        for group in self._groups(read_ahead(studies)):
            with (
                self._explain_out_of_memory(),
                torch.inference_mode(),
                torch.autocast(device.type, half, enabled=half is not None),
            ):
                inputs = []
                for study_id, hu in group:
                    moved = torch.from_numpy(hu).to(device, non_blocking=True)
                    inputs.append(study_inputs(moved, lut, self.size, self.variants, study_id))
                air, batch = air_value(lut, self.size), self.batch_slices
                maps = whole_study_maps(self.network, inputs, air, batch_slices=batch)
                done = []
                for study, combined in zip(group, maps, strict=True):
                    done.append(self._classify_in_batches(study.study_id, combined, with_evidence))
            yield from done

    def _classify_in_batches(
        self, study_id: str, combined: Maps, with_evidence: bool
    ) -> Prediction:
        """Classify a study's slices in batches: a decoder needs more memory than the encoder."""
        shape = variants, slices = combined[0].shape[:2]
        probabilities, areas, evidence = [], [], []
        for variant in range(variants):
            for start in range(0, slices, self.batch_slices):
                part = slice(start, start + self.batch_slices)
                maps = tuple(level[variant : variant + 1, part] for level in combined)
                output = self.network.classify(maps)
                probabilities.append(torch.sigmoid(output.logits[0].float()).cpu())
                if output.masks is not None:
                    covered = torch.sigmoid(output.masks[0].float()).mean(dim=(-2, -1))
                    areas.append(covered.cpu())
                if with_evidence and variant == 0:
                    evidence.append(class_evidence(self.network, maps, output)[0].cpu())
        return Prediction(
            study_id,
            torch.cat(probabilities).unflatten(0, shape).numpy(),
            torch.cat(evidence).numpy() if evidence else None,
            torch.cat(areas).unflatten(0, shape).numpy() if areas else None,
        )

    @contextmanager
    def _explain_out_of_memory(self) -> Iterator[None]:
        """Name the setting to lower when memory runs out."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise ParameterError(
                f"A batch of {self.batch_slices} slices of {self.network.spec.name} does not fit "
                f"into GPU memory ({str(error).splitlines()[0][:100]}). Try --params "
                f"prediction.batch_slices={max(1, self.batch_slices // 2)}; finished studies are "
                "kept."
            ) from error

    def _groups(self, studies: Iterable[Study]) -> Iterator[list[Study]]:
        """Group studies until they fill a batch of the encoder."""
        group: list[Study] = []
        windows = 0
        for study in studies:
            group.append(study)
            windows += len(study.hu) * len(self.variants)
            if windows >= self.batch_slices:
                yield group
                group, windows = [], 0
        if group:
            yield group


class _SinglePrecision(nn.Module):
    """A layer that is always computed in fp32.

    Rounding the network's input to bf16 is more than half of bf16's largest error on trained
    networks, and the first convolution a small part of the work.

    Args:
        layer: The layer.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    @torch.autocast("cpu", enabled=False)
    def forward(self, slices: Tensor) -> Tensor:
        """Apply the layer."""
        return self.layer(slices)


def find_device(settings: PredictionSettings) -> torch.device:
    """Return the device of the settings.

    Raises:
        ParameterError: A GPU is required, but there is none.
    """
    gpu = settings.accelerator != "cpu" and torch.cuda.is_available()
    if settings.accelerator == "gpu" and not gpu:
        raise ParameterError(
            "prediction.accelerator is gpu, but torch finds no GPU. Use auto or cpu."
        )
    return torch.device("cuda" if gpu else "cpu")


def find_precision(settings: PredictionSettings) -> Precision:
    """Return the precision of the settings; ``auto`` by the device.

    Raises:
        ParameterError: A GPU is required, but there is none.
    """
    if settings.precision != "auto":
        return settings.precision
    if find_device(settings).type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        words = set(_CPU_INFO.read_text().split()) if _CPU_INFO.is_file() else set()
        has_bf16 = not words.isdisjoint({"avx512_bf16", "amx_bf16"})
    return "bf16-mixed" if has_bf16 else "32-true"


def read_ahead(studies: Iterable[Study], depth: int = 2) -> Iterator[Study]:
    """Yield the studies, with up to ``depth`` of them read ahead in a thread."""
    source = iter(studies)
    with ThreadPoolExecutor(1) as reader:
        waiting = [reader.submit(next, source, None) for _ in range(depth)]
        while (study := waiting.pop(0).result()) is not None:
            waiting.append(reader.submit(next, source, None))
            yield study
