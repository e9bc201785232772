"""Whole-study forward pass: every slice goes through the encoder once.

Features depend only on the slices of their stack, so the combiner slides over the features of
the whole study, and the encoder does not run again for every window (same results, a fifth to a
third of the work; ``benchmarks/whole_study.py``). Studies are padded with air; stacks that are
only air share one feature map. A batch of the encoder may span several studies.
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
        batch_slices: Stacks per encoder batch, across studies; limits the memory.
        centre_only: Use only the combiner's centre tap, as in the single-slice epochs.

    Yields:
        Maps ``(V, S, E, h, w)`` of each study, in the order of the studies.
    """
    spec = network.spec
    half = spec.channels // 2
    reach = 0 if centre_only else (spec.taps // 2) * spec.dilation
    # Feature positions run from -reach to S - 1 + reach. Up to `half` outside the study a stack
    # still holds one of its slices; further out there is only air.
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
            padding = tuple(level.expand(len(maps[0]), outer, -1, -1, -1) for level in edge)
            joined = zip(padding, maps, padding, strict=True)
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
