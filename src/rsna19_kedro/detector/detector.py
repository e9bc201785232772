"""The detector on a device: from native slices to probabilities and class activation maps."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rsna19_kedro.detector.networks import SequenceNetwork, SliceClassifier, load_weights
from rsna19_kedro.detector.release import CLASSIFIER, SEQUENCE, Release
from rsna19_kedro.detector.slice_input import slice_input

_SLICE_SHARE: Final = (0.75, 0.75, 0.75, 0.75, 0.75, 1.0)
"""Share of the sequence network in the logits of a slice, by class."""
_SERIES_SHARE: Final = (0.5, 0.25, 0.5, 1.0, 0.5, 0.5)
"""Share of the sequence network in the logits of a series, by class."""
_LONGEST: Final = 64
"""The sequence network sees at most so many slices of a series."""
_CLIP: Final = 1e-6
_BATCH: Final = 4


class Detected(NamedTuple):
    """Prediction of a series.

    Attributes:
        slices: ``(S, 6)`` float32 probabilities.
        series: ``(6,)`` float32 probabilities.
        maps: Class activation maps ``(S, 6, 16, 16)`` float32 on the input of ``slice_input``.
    """

    slices: np.ndarray
    series: np.ndarray
    maps: np.ndarray


@dataclass(frozen=True)
class Detector:
    """Both networks in evaluation mode.

    Attributes:
        release: Where the weights are from.
        classifier: On its device.
        sequence: On the same device.
        half: Precision of the classifier below fp32, or ``None``.
    """

    release: Release
    classifier: SliceClassifier
    sequence: SequenceNetwork
    half: torch.dtype | None = None

    @classmethod
    def load(
        cls, release: Release, device: torch.device, half: torch.dtype | None = None
    ) -> "Detector":
        """Read the weights.

        Raises:
            ModelError: They do not fit the networks.
        """
        classifier, sequence = SliceClassifier(), SequenceNetwork()
        load_weights(classifier, release.tensors(CLASSIFIER), CLASSIFIER)
        load_weights(sequence, release.tensors(SEQUENCE), SEQUENCE)
        return cls(release, classifier.to(device), sequence.to(device), half)

    @torch.inference_mode()
    def predict(
        self, native: Sequence[np.ndarray], on_share: Callable[[float], object] = lambda _: None
    ) -> Detected:
        """Predict a series.

        Args:
            native: ``(H, W)`` HU of each slice, from feet to head; not cropped round the head.
            on_share: Called after each batch with its share of the series.
        """
        device = self.sequence.projection.weight.device
        embeddings: list[Tensor] = []
        logits: list[Tensor] = []
        maps: list[Tensor] = []
        for batch in _batches(native):
            with torch.autocast(device.type, self.half, enabled=self.half is not None):
                outputs = self.classifier(batch.to(device))
            for values, output in zip((embeddings, logits, maps), outputs, strict=True):
                values.append(output.float())
            on_share(len(batch) / len(native))
        base = torch.cat(logits)
        number = len(base)
        sampled = _sampled(number)
        positions = torch.from_numpy(sampled).float().to(device) / max(number - 1, 1)
        context, series = self.sequence(torch.cat(embeddings)[sampled], positions)
        share = torch.tensor(_SLICE_SHARE, device=device)
        nearest = np.abs(sampled - np.arange(number)[:, None]).argmin(axis=1)
        slices = (1 - share) * base + share * context[nearest]
        highest = torch.logit(base.sigmoid().amax(dim=0), eps=_CLIP)
        share = torch.tensor(_SERIES_SHARE, device=device)
        series = (1 - share) * highest + share * series
        return Detected(
            slices.sigmoid().cpu().numpy(),
            series.sigmoid().cpu().numpy(),
            torch.cat(maps).cpu().numpy(),
        )


def _batches(native: Sequence[np.ndarray]) -> Iterator[Tensor]:
    """Yield batches ``(N, 9, 512, 512)``: each slice between its neighbours, 0 beyond the ends."""
    nothing = np.zeros_like(slice_input(native[0]))
    before, this = nothing, slice_input(native[0])
    stacks = []
    for number in range(len(native)):
        after = slice_input(native[number + 1]) if number + 1 < len(native) else nothing
        stacks.append(np.concatenate([before, this, after]))
        before, this = this, after
        if len(stacks) == _BATCH or number + 1 == len(native):
            yield torch.from_numpy(np.stack(stacks))
            stacks = []


def _sampled(number: int) -> np.ndarray:
    """Return the numbers of the slices that the sequence network sees."""
    if number <= _LONGEST:
        return np.arange(number)
    return np.rint(np.linspace(0, number - 1, _LONGEST)).astype(np.int64)
