"""Training of second-level networks with early stopping on held-out patients."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import Event

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
"""Share of the steps in which the learning rate rises."""
_SCORED_AT_ONCE = 8
"""Size of a validation batch, in training batches."""

Labelled = tuple[list[Tensor], Tensor]


class Standardise(nn.Module):
    """Standardise features ``(..., F)`` to mean 0 and standard deviation 1."""

    centre: Tensor
    spread: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(features))
        self.register_buffer("spread", torch.ones(features))

    def forward(self, features: Tensor) -> Tensor:
        """Shift and scale."""
        return (features - self.centre) / self.spread


def standardise(network: nn.Module, columns: Iterable[Floats32]) -> None:
    """Set the network's ``Standardise`` layer from features ``(n, F)``, in blocks of columns."""
    layer = next(part for part in network.modules() if isinstance(part, Standardise))
    start = 0
    for block in columns:
        values = torch.from_numpy(block)
        part = slice(start, start := start + block.shape[1])
        layer.centre[part] = values.mean(dim=0, dtype=torch.float64)
        layer.spread[part] = values.std(dim=0, correction=0) + 1e-3


class _Batches(Dataset[Labelled]):
    """Batches with labels, planned in advance and built on access."""

    def __init__(self, items: Slices, labels: Labels, plan: list[tuple[Ints, bool]]) -> None:
        self.items, self.labels, self.plan = items, labels.astype(np.float32), plan

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> Labelled:
        inputs, rows = self.items.batch(*self.plan[index])
        return [torch.from_numpy(part) for part in inputs], torch.from_numpy(self.labels[rows])


def fit_network(
    network: nn.Module,
    items: Slices,
    labels: Labels,
    held_out: Bools,
    settings: NetworkSettings,
    seed: int,
    stop: Event,
) -> None:
    """Train a network in place, keeping the weights with the lowest held-out loss.

    Args:
        network: Maps the inputs of a batch to logits ``(n, 6)``.
        items: Slices or studies.
        labels: ``(N, 6)`` zeros and ones, indexed by the rows of the items.
        held_out: ``(items,)`` mask of the items for early stopping; if empty, training runs
            to the end and keeps the last weights.
        settings: Training settings.
        seed: Seed of the order of the items, their reversal and dropout.
        stop: Once set, training ends at the next validation.
    """
    rng = np.random.default_rng(seed)
    training, validation = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    steps_per_epoch = -(-len(training) // settings.batch)
    epochs = max(settings.epochs, -(-settings.least_steps // steps_per_epoch))
    plan = [
        (part, bool(rng.integers(2)))
        for _ in range(epochs)
        for part in np.array_split(rng.permutation(training), steps_per_epoch)
    ]
    parts = max(1, len(validation) // (_SCORED_AT_ONCE * settings.batch))
    check = [(part, False) for part in np.array_split(validation, parts) if len(part)]
    training_batches, validation_batches = (
        DataLoader(_Batches(items, labels, batches), batch_size=None) for batches in (plan, check)
    )
    with _seeded(seed, settings.threads):
        _descend(network, training_batches, validation_batches, settings, stop)
    network.cpu().eval()


def _descend(
    network: nn.Module,
    training: DataLoader[Labelled],
    validation: DataLoader[Labelled],
    settings: NetworkSettings,
    stop: Event,
) -> None:
    """Run AdamW with a one-cycle learning rate schedule and early stopping."""
    gpu = settings.accelerator == "gpu"
    gpu |= settings.accelerator == "auto" and torch.cuda.is_available()
    weights = class_weights().to("cuda" if gpu else "cpu")
    network.to(weights.device)
    steps, has_validation = len(training), len(validation) > 0
    optimizer = torch.optim.AdamW(
        network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )

    def rate(step: int) -> float:
        """Factor of the peak rate: a linear rise over a fifth of the steps, bounded by a cosine."""
        rise = (step + 1) / (_RISING * steps + 1)
        return min(rise, 0.5 + 0.5 * math.cos(math.pi * step / steps))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    best = _held_out_loss(network, validation, weights) if has_validation else math.inf
    best_weights, losses = _copied(network), []
    for step, batch in enumerate(training, start=1):
        network.train()
        optimizer.zero_grad()
        _loss(network, batch, weights).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if not has_validation or step % max(1, steps // settings.checks):
            continue
        losses.append(_held_out_loss(network, validation, weights))
        if losses[-1] < best:
            best, best_weights = losses[-1], _copied(network)
        # Ignores the loss before the first step, because early steps may increase it.
        if stop.is_set() or len(losses) - 1 - int(np.argmin(losses)) >= settings.patience:
            break
    if has_validation:
        network.load_state_dict(best_weights)


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


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
    """Set the seed and number of threads, and restore both on exit."""
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
    """Predict probabilities ``(N, 6)`` of all items, by row of the data.

    Args:
        network: Trained network.
        items: Slices or studies that contain every row once.
        reverse: Read the studies from head to feet.
    """
    result = np.empty((len(items.rows), 6))
    for start in range(0, len(items), items.at_once):
        indices = np.arange(start, min(start + items.at_once, len(items)))
        inputs, rows = items.batch(indices, reverse)
        logits = network(*(torch.from_numpy(part) for part in inputs))
        result[rows] = torch.sigmoid(logits.double()).numpy()
    return result
