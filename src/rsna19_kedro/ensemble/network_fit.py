"""Training of the second level's small networks, with early stopping on held-out patients."""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from rsna19_kedro.ensemble.candidate import Floats, Labels
from rsna19_kedro.ensemble.items import Slices
from rsna19_kedro.ensemble.level1 import Floats32, Ints
from rsna19_kedro.ensemble.settings import NetworkSettings
from rsna19_kedro.ensemble.splits import Bools
from rsna19_kedro.networks.loss import class_weights, weighted_bce

_RISING = 0.2
"""Share of the steps over which the learning rate rises."""
_SCORED_AT_ONCE = 8
"""Training batches that are scored as one."""

Labelled = tuple[list[Tensor], Tensor]


class Standardise(nn.Module):
    """Features ``(..., F)`` to mean 0 and standard deviation 1 of the training slices."""

    centre: Tensor
    spread: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))

    def forward(self, features: Tensor) -> Tensor:
        """Shift and scale."""
        return (features - self.centre) / self.spread


def standardise(network: nn.Module, features: Floats32) -> None:
    """Set the network's ``Standardise`` to features ``(n, F)``."""
    layer = next(part for part in network.modules() if isinstance(part, Standardise))
    values = torch.from_numpy(features)
    layer.centre.copy_(values.mean(dim=0, dtype=torch.float64))
    layer.spread.copy_(values.std(dim=0, correction=0) + 1e-3)


class _Batches(Dataset[Labelled]):
    """Batches, planned beforehand and made when needed, with their labels."""

    def __init__(self, items: Slices, labels: Labels, plan: list[tuple[Ints, bool]]) -> None:
        self.items, self.labels, self.plan = items, labels.astype(np.float32), plan

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, place: int) -> Labelled:
        inputs, rows = self.items.batch(*self.plan[place])
        return [torch.from_numpy(part) for part in inputs], torch.from_numpy(self.labels[rows])


def fit_network(
    network: nn.Module,
    items: Slices,
    labels: Labels,
    held_out: Bools,
    settings: NetworkSettings,
    seed: int,
) -> None:
    """Train a network in place; the weights with the lowest loss on held-out items are kept.

    Args:
        network: Gives logits ``(n, 6)`` for the inputs of a batch.
        items: Slices or studies.
        labels: ``(N, 6)`` zeros and ones of the slices that the items' rows name.
        held_out: ``(items,)`` mask of those not to learn from; with none of them, training
            goes to the end and the last weights stay.
        settings: How to train.
        seed: Seed of the order of the items, their reversal and dropout.
    """
    rng = np.random.default_rng(seed)
    learned, hidden = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    in_epoch = -(-len(learned) // settings.batch)
    epochs = max(settings.epochs, -(-settings.least_steps // in_epoch))
    plan = [
        (part, bool(rng.integers(2)))
        for _ in range(epochs)
        for part in np.array_split(rng.permutation(learned), in_epoch)
    ]
    parts = max(1, len(hidden) // (_SCORED_AT_ONCE * settings.batch))
    check = [(part, False) for part in np.array_split(hidden, parts) if len(part)]
    learning, scoring = (
        DataLoader(_Batches(items, labels, batches), batch_size=None) for batches in (plan, check)
    )
    with _seeded(seed, settings.threads):
        _descend(network, learning, scoring, settings)
    network.cpu().eval()


def _descend(
    network: nn.Module,
    learned: DataLoader[Labelled],
    held_out: DataLoader[Labelled],
    settings: NetworkSettings,
) -> None:
    """AdamW along one cycle of the learning rate, stopped early."""
    gpu = settings.accelerator == "gpu"
    gpu |= settings.accelerator == "auto" and torch.cuda.is_available()
    weights = class_weights().to("cuda" if gpu else "cpu")
    network.to(weights.device)
    steps, watched = len(learned), len(held_out) > 0
    optimizer = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
    )

    def rate(step: int) -> float:
        """Share of the peak: up over a fifth of the steps, down along a cosine."""
        rising = (step + 1) / (_RISING * steps + 1)
        return min(rising, 0.5 + 0.5 * math.cos(math.pi * step / steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    best = _held_out_loss(network, held_out, weights) if watched else math.inf
    kept, losses = copy.deepcopy(network.state_dict()), []
    for step, batch in enumerate(learned, start=1):
        network.train()
        optimizer.zero_grad()
        _loss(network, batch, weights).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if not watched or step % max(1, steps // settings.checks):
            continue
        losses.append(_held_out_loss(network, held_out, weights))
        if losses[-1] < best:
            best, kept = losses[-1], copy.deepcopy(network.state_dict())
        # The loss before the first step does not count here: early steps may raise it.
        if len(losses) - 1 - int(np.argmin(losses)) >= settings.patience:
            break
    if watched:
        network.load_state_dict(kept)


@torch.no_grad()
def _held_out_loss(network: nn.Module, batches: DataLoader[Labelled], weights: Tensor) -> float:
    network.eval()
    pairs = [(float(_loss(network, batch, weights)), len(batch[1])) for batch in batches]
    losses, counts = zip(*pairs, strict=True)
    return float(np.average(losses, weights=counts))


def _loss(network: nn.Module, batch: Labelled, weights: Tensor) -> Tensor:
    inputs, labels = batch
    logits = network(*(part.to(weights.device) for part in inputs))
    return weighted_bce(logits, labels.to(weights.device), weights)


@contextmanager
def _seeded(seed: int, threads: int) -> Iterator[None]:
    """Draw from the seed alone, on a few threads, and leave both as they were."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def predict_network(network: nn.Module, items: Slices, reverse: bool) -> Floats:
    """Probabilities ``(N, 6)`` of all items, by row of the data.

    Args:
        network: As it was trained.
        items: Slices or studies; together they hold every row once.
        reverse: Read the studies from head to feet.
    """
    result = np.empty((len(items.rows), 6))
    for start in range(0, len(items), items.at_once):
        places = np.arange(start, min(start + items.at_once, len(items)))
        inputs, rows = items.batch(places, reverse)
        logits = network(*(torch.from_numpy(part) for part in inputs))
        result[rows] = torch.sigmoid(logits.double()).numpy()
    return result
