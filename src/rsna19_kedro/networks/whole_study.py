"""Whole-study forward pass: every slice goes through the encoder once.

Features depend only on their own slices, so the combiner slides over the features of the
whole study instead of the encoder over every window (same numbers, a fifth to a third of the
work; ``benchmarks/whole_study.py``). Slices beyond the ends are air; windows that hold nothing
else share one feature map. Studies share the encoder's batches.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from math import prod

import torch
from torch import Tensor

from rsna19_kedro.networks.slice_network import Maps, SliceNetwork


def whole_study_maps(
    network: SliceNetwork,
    studies: Sequence[Tensor],
    air: float,
    *,
    batch_slices: int = 32,
    centre_only: bool = False,
) -> Iterator[Maps]:
    """Combined feature maps of all slices of several studies, for ``SliceNetwork.classify``.

    Args:
        network: In evaluation mode.
        studies: Network input ``(V, S, H, W)`` of each study, under V test-time augmentations.
        air: Network input of air.
        batch_slices: Windows per encoder batch, across studies; bounds the memory.
        centre_only: Use the combiner's centre tap alone, as in the single-slice epochs.

    Yields:
        Maps ``(V, S, E, h, w)`` of each study, in the order of the studies.
    """
    spec = network.spec
    half = spec.channels // 2
    reach = 0 if centre_only else (spec.taps // 2) * spec.dilation
    # Feature positions run from -reach to S - 1 + reach. Up to `half` beyond the ends a window
    # still holds a slice of the study; further out there is only air.
    mixed = min(half, reach)
    margin = half + mixed
    padded = [
        torch.nn.functional.pad(slices, (0, 0, 0, 0, margin, margin), value=air)
        for slices in studies
    ]
    outer = reach - mixed
    edge: Maps = ()
    if outer:
        air_window = studies[0].new_full((1, spec.channels, *studies[0].shape[-2:]), air)
        edge = network.encode(air_window)
    for maps in _encode(network, padded, batch_slices):
        if outer:
            beyond = tuple(level.expand(len(maps[0]), outer, -1, -1, -1) for level in edge)
            joined = zip(beyond, maps, beyond, strict=True)
            yield network.combine(tuple(torch.cat(level, dim=1) for level in joined))
        elif centre_only:
            shape = maps[0].shape[:2]
            single = network.combine(tuple(level.flatten(0, 1)[:, None] for level in maps))
            yield tuple(level[:, 0].unflatten(0, shape) for level in single)
        else:
            yield network.combine(maps)


def _encode(network: SliceNetwork, padded: Sequence[Tensor], batch_slices: int) -> Iterator[Maps]:
    """Feature maps ``(V, positions, F, h, w)`` of each study; batches span studies."""
    k = network.spec.channels
    shapes = [(len(study), study.shape[1] - k + 1) for study in padded]
    windows = (
        slices[start : start + k]
        for study in padded
        for slices in study
        for start in range(study.shape[1] - k + 1)
    )
    encoded: list[Maps] = []
    ready = 0
    while batch := list(islice(windows, batch_slices)):
        encoded.append(network.encode_stacks(torch.stack(batch)))
        ready += len(batch)
        while shapes and ready >= prod(shapes[0]):  # The next study is complete.
            shape = shapes.pop(0)
            need = prod(shape)
            levels = [torch.cat(level) for level in zip(*encoded, strict=True)]
            encoded = [tuple(level[need:] for level in levels)]
            ready -= need
            yield tuple(level[:need].unflatten(0, shape) for level in levels)
