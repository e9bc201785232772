"""Whole-study prediction: every slice goes through the encoder once.

Features depend only on their own slices, so the combiner slides over the features of the
whole study instead of the encoder over every window (design: same numbers, a fifth or a third
of the work). Slices beyond the ends are air; windows that hold nothing else share one feature
map.
"""

import torch
from torch import Tensor

from rsna19_kedro.networks.slice_network import SliceNetwork


def study_logits(
    network: SliceNetwork,
    slices: Tensor,
    air: float,
    *,
    batch_slices: int = 32,
    centre_only: bool = False,
) -> Tensor:
    """Logits of all slices of a study, for several variants of it at once.

    Args:
        network: In evaluation mode.
        slices: ``(V, S, H, W)`` network input of V variants.
        air: Network input of air.
        batch_slices: Slices that go through the encoder together: what bounds the memory.
        centre_only: Use the combiner's centre tap alone, as in the single-slice epochs.

    Returns:
        ``(V, S, 6)``.
    """
    spec = network.spec
    half = spec.channels // 2
    reach = 0 if centre_only else (spec.taps // 2) * spec.dilation
    # Feature positions run from -reach to S - 1 + reach. Up to `half` beyond the ends a window
    # still holds a slice of the study; further out there is only air.
    mixed = min(half, reach)
    margin = half + mixed
    padded = torch.nn.functional.pad(slices, (0, 0, 0, 0, margin, margin), value=air)
    maps = _encode(network, padded, batch_slices)
    outer = reach - mixed
    if outer:
        air_window = slices.new_full((1, spec.channels, *slices.shape[-2:]), air)
        edge = network.encode(air_window).expand(maps.shape[0], outer, -1, -1, -1)
        maps = torch.cat([edge, maps, edge], dim=1)
    if centre_only:
        variants, count = maps.shape[:2]
        single = network.combine(maps.flatten(0, 1)[:, None])
        return network.classify(single).reshape(variants, count, -1)
    return network.classify(network.combine(maps))


def _encode(network: SliceNetwork, padded: Tensor, batch_slices: int) -> Tensor:
    """Feature maps of all windows of k slices, at most ``batch_slices`` windows at a time."""
    k = network.spec.channels
    variants = padded.shape[0]
    count = padded.shape[1] - k + 1
    step = max(1, batch_slices // variants)
    parts = [
        network.encode(padded[:, start : min(start + step, count) + k - 1])
        for start in range(0, count, step)
    ]
    return torch.cat(parts, dim=1)
