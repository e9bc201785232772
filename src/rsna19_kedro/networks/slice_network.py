"""The slice network: one module for every first-level model without a decoder.

An encoder with k input channels (neighbouring slices) slides over the volume; its feature
maps are combined over the slice axis by a convolution with n taps at distance d; then global
average and maximum, dropout, linear.
"""

import torch
from torch import Tensor, nn

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.networks.encoders import build_encoder, global_pool
from rsna19_kedro.networks.zoo import ModelSpec


class Combiner(nn.Module):
    """Convolution over the slice axis only: n taps at distance d, F to E feature maps.

    It starts as its centre tap alone (bias and the other taps are 0), so that a network
    trained on single slices is the same network on windows (reference, section 4a).

    Args:
        features: F.
        combined: E.
        taps: n, odd.
        dilation: d, in slices.
    """

    def __init__(self, features: int, combined: int, taps: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(features, combined, (taps, 1, 1), dilation=(dilation, 1, 1))
        self.taps, self.dilation = taps, dilation
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            side = [t for t in range(taps) if t != taps // 2]
            self.conv.weight[:, :, side] = 0

    def forward(self, maps: Tensor) -> Tensor:
        """Combine ``(B, S, F, h, w)`` to ``(B, S - (n - 1) d, E, h, w)``.

        A single map (S = 1) goes through the centre tap alone.
        """
        batch, slices = maps.shape[:2]
        span = (self.taps - 1) * self.dilation
        if slices == 1 and span:
            centre = self.conv.weight[:, :, self.taps // 2]
            return nn.functional.conv2d(maps[:, 0], centre, self.conv.bias)[:, None]
        # Each tap is a 1x1 convolution of all slices, added up with a shift: the same sum as
        # the 3D convolution, without its detour through a layout of five axes.
        out = slices - span
        total: Tensor | None = None
        for tap in range(self.taps):
            start = tap * self.dilation
            part = maps[:, start : start + out].flatten(0, 1)
            term = nn.functional.conv2d(part, self.conv.weight[:, :, tap])
            total = term if total is None else total + term
        assert total is not None and self.conv.bias is not None  # noqa: PT018 - for the type checker
        total = total + self.conv.bias[:, None, None].to(total.dtype)
        return total.unflatten(0, (batch, out))


class SliceNetwork(nn.Module):
    """Logits of the six classes for each slice that has its whole window in the input.

    Args:
        spec: What the network is made of.
        dropout: Probability in front of the linear layer.
        pretrained: See ``build_encoder``.
    """

    def __init__(
        self, spec: ModelSpec, *, dropout: float = 0.0, pretrained: bool | str = False
    ) -> None:
        super().__init__()
        self.spec = spec
        self.encoder, features = build_encoder(
            spec.encoder, spec.channels, pretrained=pretrained, new_stem=spec.new_stem
        )
        self.combiner: Combiner | None = None
        if spec.combined_features is not None:
            self.combiner = Combiner(features, spec.combined_features, spec.taps, spec.dilation)
            features = spec.combined_features
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * features, len(CLASSES))

    def forward(self, slices: Tensor) -> Tensor:
        """Predict every slice with a whole window.

        Args:
            slices: ``(B, S, H, W)`` neighbouring slices, values in [-1, 1]. S is at least the
                window, or the number of channels k for the centre tap alone.

        Returns:
            Logits ``(B, S - window + 1, 6)``, or ``(B, 1, 6)`` when S = k.
        """
        return self.classify(self.combine(self.encode(slices)))

    def encode(self, slices: Tensor) -> Tensor:
        """Feature maps ``(B, S - k + 1, F, h, w)`` of every k neighbouring slices."""
        k = self.spec.channels
        batch, count = slices.shape[0], slices.shape[1] - k + 1
        stacks = slices.unfold(1, k, 1).movedim(-1, 2) if k > 1 else slices[:, :, None]
        maps = self.encoder(stacks.flatten(0, 1))
        return maps.unflatten(0, (batch, count))

    def combine(self, maps: Tensor) -> Tensor:
        """Combined maps ``(B, T, E, h, w)`` of the T slices that have all their taps."""
        return maps if self.combiner is None else self.combiner(maps)

    def classify(self, combined: Tensor) -> Tensor:
        """Logits ``(B, T, 6)`` of combined maps ``(B, T, E, h, w)``."""
        pooled = global_pool(combined.flatten(0, 1))
        return self.head(self.dropout(pooled)).unflatten(0, combined.shape[:2])
