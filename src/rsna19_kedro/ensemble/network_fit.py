"""Training of the second level's small networks, with early stopping on patients left out."""

import copy
import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from rsna19_kedro.ensemble.candidate import Floats
from rsna19_kedro.ensemble.level1 import Ints
from rsna19_kedro.ensemble.settings import NetworkSettings
from rsna19_kedro.networks.loss import class_weights, weighted_bce

# Lightning sets its own level when it is imported, and says at each fit which devices it found.
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

_RISING = 0.2
"""Share of the steps over which the learning rate rises."""
_SCORED_AT_ONCE = 8
"""Training batches that are scored in one go."""


class Batch(NamedTuple):
    """Part of the data, as a network takes it.

    Attributes:
        inputs: What the network is called with.
        rows: ``(n,)`` slices whose logits ``(n, 6)`` it gives, in their order.
    """

    inputs: tuple[Tensor, ...]
    rows: Tensor


class Items(Protocol):
    """Slices, or studies, that batches are made of."""

    @property
    def first_rows(self) -> Ints:
        """``(items,)`` row of a slice of each."""
        ...

    @property
    def directions(self) -> tuple[bool, ...]:
        """Directions that they are predicted in: ``False`` the plain one, ``True`` reversed."""
        ...

    @property
    def at_once(self) -> int:
        """How many are predicted in one go."""
        ...

    def __len__(self) -> int: ...

    def batch(self, places: Ints, reverse: bool) -> Batch:
        """Put some items together.

        Args:
            places: Numbers of the items.
            reverse: From head to feet instead of from feet to head, if there is an order.
        """
        ...


class _Labelled(Dataset[tuple[tuple[Tensor, ...], Tensor]]):
    """Batches, planned beforehand, with their labels."""

    def __init__(self, items: Items, labels: Tensor, plan: list[tuple[Ints, bool]]) -> None:
        self.items, self.labels, self.plan = items, labels, plan

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, place: int) -> tuple[tuple[Tensor, ...], Tensor]:
        batch = self.items.batch(*self.plan[place])
        return batch.inputs, self.labels[batch.rows]


class _Module(L.LightningModule):
    """Class-weighted log loss of a network, AdamW, the best weights kept."""

    def __init__(self, network: nn.Module, settings: NetworkSettings, steps: int) -> None:
        super().__init__()
        self.network, self.settings, self.steps = network, settings, steps
        self.best_loss, self.best_weights = float("inf"), copy.deepcopy(network.state_dict())
        self.register_buffer("weights", class_weights(), persistent=False)

    def configure_optimizers(self) -> Any:
        settings = self.settings
        optimizer = torch.optim.AdamW(
            self.network.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        cycle = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": cycle, "interval": "step"},
        }

    def _rate(self, step: int) -> float:
        """Share of the highest rate: up over a fifth of the steps, down along a cosine."""
        rising = (step + 1) / (_RISING * self.steps + 1)
        return min(rising, 0.5 + 0.5 * math.cos(math.pi * min(step / self.steps, 1.0)))

    def training_step(self, batch: tuple[tuple[Tensor, ...], Tensor], place: int) -> Tensor:
        inputs, labels = batch
        return weighted_bce(self.network(*inputs), labels, self.weights)  # type: ignore[arg-type]

    def validation_step(self, batch: tuple[tuple[Tensor, ...], Tensor], place: int) -> None:
        inputs, labels = batch
        loss = weighted_bce(self.network(*inputs), labels, self.weights)  # type: ignore[arg-type]
        self.log("held_out_loss", loss, batch_size=len(labels))

    def on_validation_epoch_end(self) -> None:
        loss = float(self.trainer.callback_metrics["held_out_loss"])
        if loss < self.best_loss:
            self.best_loss = loss
            self.best_weights = copy.deepcopy(self.network.state_dict())


def fit_network(
    network: nn.Module,
    items: Items,
    labels: np.ndarray,
    learned: Ints,
    held_out: Ints,
    settings: NetworkSettings,
    seed: int,
) -> float:
    """Train a network in place.

    Args:
        network: Gives logits ``(n, 6)`` for the inputs of a batch.
        items: Slices or studies.
        labels: ``(N, 6)`` zeros and ones of the slices that the items' rows name.
        learned: Items to learn from.
        held_out: Items to keep the best weights by; with none of them, training goes to the
            end and the last weights stay.
        settings: How to train.
        seed: Of the order of the items, their reversal and dropout.

    Returns:
        Weighted log loss on the items held out, NaN if there are none.
    """
    rng = np.random.default_rng(seed)
    in_epoch = -(-len(learned) // settings.batch)
    epochs = max(settings.epochs, -(-settings.least_steps // in_epoch))
    plan = [
        (part, bool(rng.integers(2)))
        for _ in range(epochs)
        for part in np.array_split(rng.permutation(learned), in_epoch)
    ]
    targets = torch.from_numpy(np.ascontiguousarray(labels, dtype=np.float32))
    parts = max(1, len(held_out) // (_SCORED_AT_ONCE * settings.batch))
    check = [(part, False) for part in np.array_split(held_out, parts) if len(part)]
    module = _Module(network, settings, len(plan))
    with _quiet_and_seeded(seed, settings.threads):
        _run_trainer(module, _Labelled(items, targets, plan), _Labelled(items, targets, check))
    network.cpu().eval()
    if not check:
        return float("nan")
    network.load_state_dict(module.best_weights)
    return module.best_loss


def _run_trainer(module: _Module, learned: _Labelled, check: _Labelled) -> None:
    """Run Lightning's trainer over the planned batches."""
    settings = module.settings
    stopping = EarlyStopping(
        "held_out_loss", patience=settings.patience, check_on_train_epoch_end=False
    )
    trainer = L.Trainer(
        accelerator=settings.accelerator,
        devices=1,
        max_epochs=1,
        gradient_clip_val=1.0,
        val_check_interval=max(1, len(learned) // settings.checks) if len(check) else 1.0,
        num_sanity_val_steps=0,
        callbacks=[stopping] if len(check) else [],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    watched = DataLoader(check, batch_size=None) if len(check) else None
    if watched is not None:
        trainer.validate(module, watched, verbose=False)
    trainer.fit(module, DataLoader(learned, batch_size=None), watched)


@contextmanager
def _quiet_and_seeded(seed: int, threads: int) -> Iterator[None]:
    """Draw from the seed alone, on a few threads, and leave both as they were."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(), warnings.catch_warnings():
            # About loaders without workers, devices not used, and the like.
            warnings.filterwarnings("ignore", module=r"(lightning|torch)\b")
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def predict_network(network: nn.Module, items: Items, rows: int, reverse: bool = False) -> Floats:
    """Probabilities ``(rows, 6)`` of all items.

    Args:
        network: As it was trained.
        items: Slices or studies; together they hold every row once.
        rows: Number of slices.
        reverse: Read the studies from head to feet.
    """
    result = np.empty((rows, 6))
    for start in range(0, len(items), items.at_once):
        places = np.arange(start, min(start + items.at_once, len(items)))
        batch = items.batch(places, reverse)
        result[batch.rows.numpy()] = torch.sigmoid(network(*batch.inputs).double()).numpy()
    return result
