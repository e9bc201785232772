"""Whole-study prediction: every slice goes through the encoder once.

Features depend only on their own slices, so the combiner slides over the features of the
whole study instead of the encoder over every window (design: same numbers, a fifth or a third
of the work). Slices beyond the ends are air; windows that hold nothing else share one feature
map. Studies share the encoder's batches.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from rsna19_kedro.networks.slice_network import Maps, Output, SliceNetwork


def study_logits(
    network: SliceNetwork,
    slices: Tensor,
    air: float,
    *,
    batch_slices: int = 32,
    centre_only: bool = False,
) -> Tensor:
    """Logits ``(V, S, 6)`` of one study; see ``studies_outputs``."""
    (output,) = studies_outputs(
        network, [slices], air, batch_slices=batch_slices, centre_only=centre_only
    )
    return output.logits


def studies_outputs(
    network: SliceNetwork,
    studies: Sequence[Tensor],
    air: float,
    *,
    batch_slices: int = 32,
    centre_only: bool = False,
) -> Iterator[Output]:
    """What the network says of all slices of several studies, each under several variants.

    Args:
        network: In evaluation mode.
        studies: Network input ``(V, S, H, W)`` of V variants each.
        air: Network input of air.
        batch_slices: Windows that go through the encoder together, of whichever study: what
            bounds the memory.
        centre_only: Use the combiner's centre tap alone, as in the single-slice epochs.

    Yields:
        A study's outputs ``(V, S, ...)``, in the order of the studies.
    """
    combined = studies_maps(
        network, studies, air, batch_slices=batch_slices, centre_only=centre_only
    )
    for maps in combined:
        yield network.classify(maps)


def studies_maps(
    network: SliceNetwork,
    studies: Sequence[Tensor],
    air: float,
    *,
    batch_slices: int = 32,
    centre_only: bool = False,
) -> Iterator[Maps]:
    """Combined maps ``(V, S, E, h, w)`` of each study; see ``studies_outputs``."""
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
            yield network.combine(_joined([beyond, maps, beyond]))
        elif centre_only:
            shape = maps[0].shape[:2]
            single = network.combine(tuple(level.flatten(0, 1)[:, None] for level in maps))
            yield tuple(level[:, 0].unflatten(0, shape) for level in single)
        else:
            yield network.combine(maps)


def _encode(network: SliceNetwork, padded: Sequence[Tensor], batch_slices: int) -> Iterator[Maps]:
    """Feature maps ``(V, positions, F, h, w)`` of each study.

    Batches hold ``batch_slices`` windows, whichever studies they come from.
    """
    k = network.spec.channels
    counts = [(len(study), study.shape[1] - k + 1) for study in padded]
    waiting: list[Tensor] = []
    done: list[Maps] = []
    ready = 0
    owed = list(counts)

    def run() -> None:
        nonlocal ready
        done.append(network.encode_stacks(torch.stack(waiting)))
        ready += len(waiting)
        waiting.clear()

    def settle() -> Iterator[Maps]:
        """Give out the studies whose windows are all encoded."""
        nonlocal ready
        while owed and ready >= owed[0][0] * owed[0][1]:
            variants, count = owed.pop(0)
            need = variants * count
            levels = [torch.cat(level) for level in zip(*done, strict=True)]
            done[:] = [tuple(level[need:] for level in levels)]
            ready -= need
            yield tuple(level[:need].unflatten(0, (variants, count)) for level in levels)

    for study, (variants, count) in zip(padded, counts, strict=True):
        for variant in range(variants):
            for start in range(count):
                waiting.append(study[variant, start : start + k])
                if len(waiting) == batch_slices:
                    run()
                    yield from settle()
    if waiting:
        run()
    yield from settle()


def _joined(parts: list[Maps]) -> Maps:
    """Maps of consecutive stretches of a study as those of all of it, level by level."""
    return tuple(torch.cat(level, dim=1) for level in zip(*parts, strict=True))
