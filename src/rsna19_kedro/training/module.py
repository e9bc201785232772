"""The Lightning module: one phase of a recipe on one network."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Self

import lightning as L
import torch
from torch import Tensor

from rsna19_kedro.networks.encoders import ENCODERS, trainable
from rsna19_kedro.networks.loss import training_weights, weighted_bce
from rsna19_kedro.networks.network_input import Draws, look_up, network_input, resample
from rsna19_kedro.networks.slice_network import SliceNetwork
from rsna19_kedro.networks.whole_study import study_logits
from rsna19_kedro.training.augmentation import draw, mask_targets
from rsna19_kedro.training.data import Batch
from rsna19_kedro.training.metrics import ValidationMetrics
from rsna19_kedro.training.plan import Unit, is_frozen, learning_rate
from rsna19_kedro.training.recipe import Phase, Recipe


class LossNotFinite(Exception):
    """The loss of a batch is NaN or infinite.

    Args:
        value: The loss.
        step: Number of the batch in the phase.
        samples: Study and slice of each of its samples.
    """

    def __init__(self, value: float, step: int, samples: list[list[int]]) -> None:
        super().__init__(f"the loss became {value} in batch {step}, samples {samples}")
        self.value, self.step, self.samples = value, step, samples

    @classmethod
    def read(cls, text: str) -> Self | None:
        """Find the error in what another process wrote of it."""
        found = re.search(r"the loss became (\S+) in batch (\d+), samples (\[.*\])", text)
        return found and cls(float(found[1]), int(found[2]), json.loads(found[3]))


class PhaseModule(L.LightningModule):
    """Trains a network through one phase.

    A Lightning epoch is a unit of the plan. What is random in a batch is drawn from the seed
    and the batch's place in the plan, so that a resumed run repeats an undisturbed one.

    Args:
        network: The network, changed in place.
        recipe: The model's recipe.
        phase_name: Name of the phase of it.
        units: The phase's plan.
        hu_lut: ``(1401,)`` float32.
        seed: Identifies training and phase.
        side_px: Side of the prepared slices, in pixels.
        history: Rows of the validations so far; each validation adds one.
    """

    hu_lut: Tensor
    class_weights: Tensor

    def __init__(
        self,
        network: SliceNetwork,
        recipe: Recipe,
        phase_name: str,
        units: list[Unit],
        hu_lut: Tensor,
        seed: tuple[int, ...],
        side_px: int,
        history: list[dict[str, Any]],
    ) -> None:
        super().__init__()
        self.network, self.recipe, self.units = network, recipe, units
        self.phase_name = phase_name
        self.phase: Phase = dict(recipe.phases.in_order())[phase_name]
        self.seed, self.side_px, self.history = seed, side_px, history
        self.best_loss, self.best_weights = math.inf, dict[str, Tensor]()
        self.register_buffer("hu_lut", hu_lut, persistent=False)
        self.register_buffer("class_weights", training_weights(), persistent=False)
        self._metrics = ValidationMetrics()
        self._frozen: bool | None = None
        self._train_losses: list[Tensor] = []

    @property
    def unit(self) -> Unit:
        """The unit that is being trained."""
        return self.units[min(self.current_epoch, len(self.units) - 1)]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make the phase's optimiser; its rate is set batch by batch."""
        phase = self.phase
        weights = self.network.parameters()
        rate, decay = phase.learning_rate, phase.weight_decay
        match phase.optimizer:
            case "adam":
                return torch.optim.Adam(
                    weights, lr=rate, weight_decay=decay, decoupled_weight_decay=True
                )
            case "radam":
                return torch.optim.RAdam(
                    weights, lr=rate, weight_decay=decay, decoupled_weight_decay=True
                )
            case "adamw":
                # Lightning does not clip what a fused optimiser unscales by itself.
                fused = self.trainer.precision == "32-true"
                return torch.optim.AdamW(weights, lr=rate, weight_decay=decay, fused=fused)

    def on_train_epoch_start(self) -> None:
        """Start the unit's account."""
        self._train_losses = []
        self._frozen = None
        # Lightning asks for this number at the end of each of its epochs, our units.
        self.trainer.check_val_every_n_epoch = 1 if self.unit.validates else len(self.units) + 1

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set the rate, freeze or thaw the encoder, seed what draws globally (dropout)."""
        torch.manual_seed(self._batch_seed(batch_idx) + self.global_rank)
        step = self.unit.first_step + batch_idx
        total = self.units[-1].first_step + self.units[-1].batches
        rate = learning_rate(self.phase, step, self.unit.epoch, total)
        optimizer = self.optimizers(use_pl_optimizer=False)
        for group in optimizer.param_groups:  # type: ignore[union-attr]
            group["lr"] = rate
        frozen = is_frozen(self.phase, step)
        if frozen != self._frozen:
            self._freeze(frozen)

    def _batch_seed(self, batch_idx: int) -> int:
        """A number of the batch's own; a tuple of integers has the same hash in every process."""
        return hash((*self.seed, self.unit.index, batch_idx)) & 0x7FFFFFFF

    def _freeze(self, frozen: bool) -> None:
        """Freeze the encoder but for a new stem, or let all of it learn."""
        self._frozen = frozen
        encoder = self.network.encoder
        trainable(encoder, not frozen)
        encoder.train(not frozen or self.phase.train_frozen_norms)
        if frozen and self.network.spec.new_stem:
            for name in ENCODERS[self.network.spec.encoder].stem:
                trainable(encoder.get_submodule(name), True)
                encoder.get_submodule(name).train()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of a batch.

        Raises:
            LossNotFinite: The loss is not finite.
        """
        crop = self.recipe.input
        slices = batch.slices
        if not slices.is_floating_point():
            slices = look_up(slices, self.hu_lut, crop)
        draws = self._draws(len(slices), batch_idx)
        border = self.recipe.augmentation.border
        slices = resample(slices, float(self.hu_lut[0]), draws, border, crop)
        output = self.network.outputs(slices)
        loss = self._weighed(
            weighted_bce(output.logits, batch.labels, self.class_weights),
            ~torch.isnan(batch.labels[..., 0]),
        )
        if output.masks is not None and self.recipe.mask_loss_weight:
            loss = loss + self.recipe.mask_loss_weight * self._mask_loss(
                output.masks[:, 0], batch.masks, draws
            )
        if not torch.isfinite(loss):
            samples = torch.stack([batch.studies, batch.targets], dim=1).tolist()
            raise LossNotFinite(loss.item(), self.unit.first_step + batch_idx, samples)
        # Shown in the scale of val_loss, whose class weights sum to 1.
        self._train_losses.append(loss.detach() / self.class_weights.sum())
        if batch_idx % 10 == 0 and self.logger is not None:
            rate = self.optimizers(use_pl_optimizer=False).param_groups[0]["lr"]  # type: ignore[union-attr]
            self._tensorboard(
                batch_idx, train_loss=float(self._train_losses[-1]), learning_rate=rate
            )
        return loss

    def _weighed(self, mean: Tensor, counted: Tensor) -> Tensor:
        """A device's mean, so that the mean over devices is that over all their samples.

        Args:
            mean: Loss over this device's samples.
            counted: Which samples these are (or how many); devices may hold different numbers.
        """
        world = self.trainer.world_size
        if world == 1:
            return mean
        own = counted.sum().float()
        everyone = own.clone()
        torch.distributed.all_reduce(everyone)
        return mean * (own * world / everyone.clamp(min=1))

    def _mask_loss(self, logits: Tensor, masks: Tensor, draws: Draws) -> Tensor:
        """Loss of the samples that have a mask; 0 where none has."""
        masked = logits.new_zeros(len(logits), dtype=torch.bool)
        if masks.numel():
            masked = masks.amax(dim=(1, 2)) >= 0
        has_mask = torch.nonzero(masked)[:, 0]
        if len(has_mask):
            targets = mask_targets(masks[has_mask], draws.of(has_mask.cpu()), self.recipe.input)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                logits[has_mask].to(targets.dtype), targets
            )
        else:
            loss = logits.sum() * 0  # Every device's graph is the same, masks or not.
        return self._weighed(loss, masked)

    def _draws(self, count: int, batch_idx: int) -> Draws:
        """This device's share of the draws of the whole batch."""
        generator = torch.Generator().manual_seed(self._batch_seed(batch_idx))
        world = self.trainer.world_size
        whole = draw(
            count * world,
            self.recipe.augmentation,
            self.recipe.input,
            self.side_px,
            generator,
            single_slice=self.unit.single_slice,
        )
        return whole if world == 1 else whole.of(slice(self.global_rank, None, world))

    def _tensorboard(self, batch_idx: int, **values: float) -> None:
        assert self.logger is not None
        step = self.unit.first_step + batch_idx + 1
        self.logger.log_metrics({f"{self.phase_name}/{k}": v for k, v in values.items()}, step)

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> None:
        """Predict one study whole."""
        hu, slice_nums, labels = batch
        size = self.recipe.input
        slices = network_input(hu, self.hu_lut, size.crop_px, size.network_px)
        logits = study_logits(
            self.network,
            slices[None],
            float(self.hu_lut[0]),
            centre_only=self.unit.single_slice,
        )
        self._metrics.update(logits[0, slice_nums], labels)

    def on_validation_epoch_end(self) -> None:
        """Add a row to the history and keep the weights if they are the best."""
        unit = self.unit
        row: dict[str, Any] = {
            "phase": self.phase_name,
            "epoch": unit.epoch_end,
            "step": unit.first_step + unit.batches,
            "learning_rate": float(self.optimizers(use_pl_optimizer=False).param_groups[0]["lr"]),  # type: ignore[union-attr]
            "train_loss": self._train_loss(),
            **self._metrics.compute(),
        }
        self.history.append(row)
        if self.logger is not None:
            numbers = {k: v for k, v in row.items() if k.startswith("val_") and math.isfinite(v)}
            self._tensorboard(unit.batches - 1, **numbers)
        if self.recipe.keep == "best" and row["val_loss"] < self.best_loss:
            self.best_loss = row["val_loss"]
            self.best_weights = _cpu_copy(self.network.state_dict())

    def _train_loss(self) -> float:
        """Mean over the unit so far, of all devices; NaN before the first batch."""
        if not self._train_losses:
            return math.nan
        mean = torch.stack(self._train_losses).mean()
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(mean)
            mean /= self.trainer.world_size
        return float(mean)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the history and the best weights with the resume state."""
        checkpoint["history"] = list(self.history)
        checkpoint["best"] = {"loss": self.best_loss, "weights": self.best_weights}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the history and the best weights."""
        self.history[:] = checkpoint["history"]
        self.best_loss = checkpoint["best"]["loss"]
        self.best_weights = checkpoint["best"]["weights"]

    def kept_weights(self) -> dict[str, Tensor]:
        """The weights that the recipe wants to keep, on the CPU."""
        if self.recipe.keep == "best" and self.best_weights:
            return self.best_weights
        return _cpu_copy(self.network.state_dict())


def _cpu_copy(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in weights.items()}
