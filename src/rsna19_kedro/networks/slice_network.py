"""The slice network: one module for every first-level model without a decoder.

An encoder with k input channels (neighbouring slices) slides over the volume; its feature
maps are combined over the slice axis by a convolution with n taps and dilation d. Global average
and maximum, dropout and a linear layer follow.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.networks.encoders import build_encoder, global_pool
from rsna19_kedro.networks.input_size import InputSize
from rsna19_kedro.networks.network_input import apply_windows
from rsna19_kedro.networks.zoo import ModelSpec

Maps = tuple[Tensor, ...]
"""Feature maps ``(B, S, F, h, w)`` of S positions along the volume, one tensor per level of
the encoder: only the last, or several for a decoder."""


class Output(NamedTuple):
    """Output of a network for the slices with a complete window.

    Attributes:
        logits: ``(B, T, 6)``.
        masks: ``(B, T, 7, h, w)`` logits of the five types, unclassified blood and any blood;
            ``None`` without a decoder.
    """

    logits: Tensor
    masks: Tensor | None = None


class Combiner(nn.Module):
    """Convolution over the slice axis only: n taps, dilation d, F to E feature maps.

    Args:
        features: F.
        combined: E.
        spec: Number, dilation and initial weights of the taps.
    """

    def __init__(self, features: int, combined: int, spec: ModelSpec) -> None:
        super().__init__()
        self.taps, self.dilation = spec.taps, spec.dilation
        self.conv = nn.Conv3d(features, combined, (self.taps, 1, 1), dilation=(self.dilation, 1, 1))
        if spec.combiner_start == "centre":
            nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]
            with torch.no_grad():
                side = [tap for tap in range(self.taps) if tap != self.taps // 2]
                self.conv.weight[:, :, side] = 0

    def forward(self, maps: Tensor, *, tap_distance: int | None = None) -> Tensor:
        """Combine ``(B, S, F, h, w)`` to ``(B, S - (n - 1) d, E, h, w)``.

        A single map (S = 1) uses only the centre tap.

        Args:
            maps: Feature maps along the volume.
            tap_distance: Distance of the taps in maps; ``None`` for the dilation.
        """
        distance = self.dilation if tap_distance is None else tap_distance
        batch, slices = maps.shape[:2]
        if slices == 1 and self.taps > 1:
            centre = self.conv.weight[:, :, self.taps // 2]
            return nn.functional.conv2d(maps[:, 0], centre, self.conv.bias)[:, None]
        # One 1x1 convolution per tap, summed with a shift: equals the 3D convolution, but
        # avoids its five-dimensional memory layout.
        out = slices - (self.taps - 1) * distance
        total: Tensor | None = None
        for tap in range(self.taps):
            part = maps[:, tap * distance : tap * distance + out].flatten(0, 1)
            term = nn.functional.conv2d(part, self.conv.weight[:, :, tap])
            total = term if total is None else total + term
        assert total is not None and self.conv.bias is not None  # noqa: PT018 - for the type checker
        total = total + self.conv.bias[:, None, None].to(total.dtype)
        return total.unflatten(0, (batch, out))


class SliceNetwork(nn.Module):
    """Network that predicts six logits for each slice with a complete window in the input.

    Args:
        spec: Architecture of the network.
        dropout: Dropout probability before the linear layer.
        weights: Initial weights of the encoder, see ``build_encoder``.
        weights_folder: See ``build_encoder``.
        size: Input of the network; ``None`` for one without windows, and of the side that the
            encoder's library chooses.

    Raises:
        ParameterError: The encoder cannot be built for this side.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        dropout: float = 0.0,
        weights: str | None = None,
        weights_folder: str | None = None,
        size: InputSize | None = None,
    ) -> None:
        super().__init__()
        self.spec, self.windows = spec, size.windows if size else None
        self.encoder, features = build_encoder(
            spec.encoder,
            spec.channels,
            new_stem=spec.new_stem,
            weights=weights,
            weights_folder=weights_folder,
            windows=len(self.windows) if self.windows else 1,
            side_px=size.network_px if size else None,
        )
        self.dropout = nn.Dropout(dropout)
        self._build(features)

    def _build(self, features: int) -> None:
        """Add the layers after the encoder, whose last map has ``features`` channels."""
        self.combiner: Combiner | None = None
        if self.spec.combined_features is not None:
            self.combiner = Combiner(features, self.spec.combined_features, self.spec)
            features = self.spec.combined_features
        self.head: nn.Module = nn.Linear(2 * features, len(CLASSES))

    def forward(self, slices: Tensor) -> Tensor:
        """Logits of ``outputs``, ``(B, T, 6)``."""
        return self.outputs(slices).logits

    def outputs(self, slices: Tensor) -> Output:
        """Predict every slice with a complete window.

        Args:
            slices: ``(B, S, H, W)`` neighbouring slices, values in [-1, 1], or HU if the input
                has windows. S is at least the window, or the number of channels k to use only
                the centre tap.

        Returns:
            ``T = S - window + 1`` slices, or one when S = k.
        """
        if slices.shape[1] == self.spec.window:  # One slice: only the maps at its taps are needed.
            maps = self.encode(slices, step=self.spec.dilation)
            return self.classify(self.combine(maps, tap_distance=1))
        return self.classify(self.combine(self.encode(slices)))

    def encode(self, slices: Tensor, *, step: int = 1) -> Maps:
        """Feature maps of every k neighbouring slices, or of every ``step``-th of them."""
        k = self.spec.channels
        batch = slices.shape[0]
        stacks = slices.unfold(1, k, step).movedim(-1, 2) if k > 1 else slices[:, ::step, None]
        count = stacks.shape[1]
        return tuple(
            maps.unflatten(0, (batch, count)) for maps in self.encode_stacks(stacks.flatten(0, 1))
        )

    def encode_stacks(self, stacks: Tensor) -> Maps:
        """Feature maps ``(N, F, h, w)`` of stacks ``(N, k, H, W)``, one per level."""
        return (self.encoder(self.channels_of(stacks)),)

    def channels_of(self, stacks: Tensor) -> Tensor:
        """Input of the encoder: the stacks, or their windows."""
        return stacks if self.windows is None else apply_windows(stacks, self.windows)

    def combine(self, maps: Maps, *, tap_distance: int | None = None) -> Maps:
        """Combined maps ``(B, T, E, h, w)`` of the T slices with all taps."""
        return (
            maps if self.combiner is None else (self.combiner(maps[-1], tap_distance=tap_distance),)
        )

    def classify(self, combined: Maps) -> Output:
        """Predict from combined maps."""
        pooled = global_pool(combined[-1].flatten(0, 1))
        logits = self.head(self.dropout(pooled))
        return Output(logits.unflatten(0, combined[-1].shape[:2]))
