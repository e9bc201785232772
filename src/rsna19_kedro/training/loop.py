"""The training loop of one phase.

All random numbers of a batch are drawn from the seed and the batch's number in the plan, so that a
resumed phase equals an uninterrupted one bit for bit (on a CPU).
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from rsna19_kedro.errors import InputError, ParameterError
from rsna19_kedro.files import atomic_path
from rsna19_kedro.networks.loss import training_weights, weighted_bce
from rsna19_kedro.networks.network_input import Draws, air_value, look_up, network_input, resample
from rsna19_kedro.networks.slice_network import SliceNetwork
from rsna19_kedro.networks.whole_study import whole_study_maps
from rsna19_kedro.training.augmentation import draw, mask_targets
from rsna19_kedro.training.batches import reader_threads, unit_batches, validation_studies
from rsna19_kedro.training.job import TrainingJob
from rsna19_kedro.training.metrics import validation_metrics
from rsna19_kedro.training.optimizer import freeze_encoder, make_optimizer
from rsna19_kedro.training.plan import Unit
from rsna19_kedro.training.report import TrainingReport
from rsna19_kedro.training.samples import Batch, SampleReader
from rsna19_kedro.training.schedules import is_frozen, learning_rate
from rsna19_kedro.training.state import PhaseState, cpu_copy, state_path


class _Step(NamedTuple):
    """A batch whose loss is not yet checked."""

    number: int
    rate: float
    loss: Tensor
    batch: Batch


class PhaseLoop:
    """Training of a network through one phase of a recipe.

    Args:
        fabric: Devices and precision.
        job: Model, fold, recipe and settings.
        reader: Reads the training samples.
        network: The network, changed in place.
        number: Number of the phase, from 0.
        units: The plan of the phase.
        history: Rows of the validations of earlier phases.
    """

    def __init__(
        self,
        fabric: Fabric,
        job: TrainingJob,
        reader: SampleReader,
        network: SliceNetwork,
        number: int,
        units: list[Unit],
        history: list[dict[str, Any]],
    ) -> None:
        self.fabric, self.job, self.reader, self.network = fabric, job, reader, network
        self.recipe, self.units = job.recipe, units
        self.name, self.phase = job.recipe.phases.in_order()[number]
        self.seed = (job.recipe.seed, job.fold, number)
        self.path = state_path(job.resume, number)
        self.lut, self.weights = job.hu_lut.to(fabric.device), training_weights().to(fabric.device)
        self.air = air_value(job.hu_lut, self.recipe.input)
        self.share = (fabric.global_rank, fabric.world_size)
        gpu = fabric.device.type == "cuda"
        self.threads = reader_threads(job.settings.readers, fabric.world_size, gpu=gpu)
        self.state = PhaseState(history)

    def run(self) -> PhaseState:
        """Train the remaining units, and save the state after each.

        Raises:
            InputError: A loss is not finite, or a batch does not fit into memory.
        """
        model = self.fabric.setup_module(self.network)
        model.mark_forward_method("outputs")
        optimizer: Any = self.fabric.setup_optimizers(
            make_optimizer(self.phase, self.network, fused=self.job.precision == "32-true")
        )
        if self.path.is_file():
            self._resume(optimizer)
        last = self.units[-1]
        title = f"{self.job.title} {self.name}"
        logs = self.job.logs if self.fabric.is_global_zero else None
        self.report = TrainingReport(
            title, self.name, last.first_step + last.batches, logs, show=self.fabric.is_global_zero
        )
        with self.report, self._explain_out_of_memory():
            for unit in self.units[self.state.units_done :]:
                train_loss = self._train_unit(unit, model, optimizer)
                if unit.validates:
                    self._validate(unit, optimizer.param_groups[0]["lr"], train_loss)
                self._save(unit, optimizer)
        return self.state

    def _train_unit(self, unit: Unit, model: Any, optimizer: Any) -> float:
        """Train one unit and return its mean loss.

        The loss of a batch is read while the next batch is computed, so that the device has work
        while the CPU waits for the loss.
        """
        phase, losses, pending = self.phase, list[Tensor](), list[_Step]()
        total_steps = self.units[-1].first_step + self.units[-1].batches
        frozen: bool | None = None
        self.network.train()
        batches = unit_batches(
            self.reader, unit, self.seed, self.fabric.device, self.threads, self.share
        )
        for number, batch in enumerate(batches):
            step = unit.first_step + number
            rate = learning_rate(phase, step, unit.epoch, total_steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            if frozen != is_frozen(phase, step):
                frozen = is_frozen(phase, step)
                freeze_encoder(self.network, frozen, train_norms=phase.train_frozen_norms)

            seed = hash((*self.seed, unit.index, number)) & 0x7FFFFFFF
            torch.manual_seed(seed + self.fabric.global_rank)  # Dropout.
            updates = (number + 1) % phase.accumulate == 0 or number + 1 == unit.batches
            with self.fabric.no_backward_sync(model, enabled=not updates):
                loss = self._loss(model, batch, self._draws(len(batch.slices), seed, unit))
                self.fabric.backward(loss / phase.accumulate)
            if updates:
                if phase.gradient_clip is not None:
                    self.fabric.clip_gradients(
                        model, optimizer, max_norm=phase.gradient_clip, error_if_nonfinite=False
                    )
                optimizer.step()
                optimizer.zero_grad()

            # On the scale of the validation loss, whose class weights sum to 1.
            losses.append(loss.detach() / self.weights.sum())
            self._report_losses(pending)
            pending = [_Step(step, rate, losses[-1], batch)]
        self._report_losses(pending)
        return float(self._mean_over_devices(torch.stack(losses).mean()))

    def _draws(self, count: int, seed: int, unit: Unit) -> Draws:
        """Draw the augmentation of the batch of all devices, and return this device's part."""
        world = self.fabric.world_size
        return draw(
            count * world,
            self.recipe.augmentation,
            self.recipe.input,
            self.job.slices.side_px,
            torch.Generator().manual_seed(seed),
            single_slice=unit.single_slice,
        ).of(slice(self.fabric.global_rank, None, world))

    def _loss(self, model: Any, batch: Batch, draws: Draws) -> Tensor:
        """Return the class loss of a batch, plus the mask loss with a decoder."""
        size, border = self.recipe.input, self.recipe.augmentation.border
        slices = batch.slices
        if not slices.is_floating_point():
            slices = look_up(slices, self.lut, size)
        slices = resample(slices, self.air, draws, border, size)
        with self.fabric.autocast():  # On one device, Fabric wraps only forward().
            output = model.outputs(slices)
        loss = self._over_devices(
            weighted_bce(output.logits, batch.labels, self.weights),
            ~torch.isnan(batch.labels[..., 0]),
        )
        if output.masks is not None and self.recipe.mask_loss_weight:
            masks = self._mask_loss(output.masks[:, 0].to(batch.labels.dtype), batch.masks, draws)
            loss = loss + self.recipe.mask_loss_weight * masks
        return loss

    def _mask_loss(self, logits: Tensor, masks: Tensor, draws: Draws) -> Tensor:
        """Return the loss of the samples with a mask; 0 if there are none."""
        masked = logits.new_zeros(len(logits), dtype=torch.bool)
        if masks.numel():
            masked = masks.amax(dim=(1, 2)) >= 0
        if bool(masked.any()):
            targets = mask_targets(masks[masked], draws.of(masked.cpu()), self.recipe.input)
            loss = binary_cross_entropy_with_logits(logits[masked].to(targets.dtype), targets)
        else:
            loss = logits.sum() * 0  # The same graph on every device, with or without masks.
        return self._over_devices(loss, masked)

    def _mean_over_devices(self, value: Tensor) -> Tensor:
        mean = self.fabric.all_reduce(value, reduce_op="mean")
        assert isinstance(mean, Tensor)
        return mean

    def _over_devices(self, mean: Tensor, counted: Tensor) -> Tensor:
        """Weight a device's mean so that the mean over devices is that over all samples."""
        if self.fabric.world_size == 1:
            return mean
        count = counted.sum().float()
        mean_count = self._mean_over_devices(count.clone())
        return mean * (count / mean_count.clamp(min=1 / self.fabric.world_size))

    def _report_losses(self, steps: list[_Step]) -> None:
        """Report the losses of finished batches.

        Raises:
            InputError: A loss is not finite; the slices of its batch are listed in a file.
        """
        for step in steps:
            value = float(step.loss)
            if not math.isfinite(value):
                raise self._not_finite_error(value, step)
            self.report.batch(step.number + 1, step.rate, value)

    def _not_finite_error(self, value: float, step: _Step) -> InputError:
        note = self.job.resume / "loss_not_finite.json"
        content = {
            **{"model": self.recipe.model, "fold": self.job.fold, "phase": self.name},
            **{"batch": step.number, "loss": str(value)},
            "slices": [
                {"study_id": self.job.slices.train.study_ids[study], "slice_num": number}
                for study, number in step.batch.names.tolist()
            ],
        }
        with atomic_path(note) as part:
            part.write_text(json.dumps(content, indent=1))
        return InputError(
            f"{self.job.title}: the loss became {value} in phase {self.name!r}, batch "
            f"{step.number}. The slices of that batch are listed in {note}. "
            f"{self._stability_advice()}"
        )

    def _stability_advice(self) -> str:
        """Say what to change so that a training stays finite."""
        return (
            f"Lower {self.recipe.model}.phases.{self.name}.learning_rate, set its gradient_clip, "
            "or train with --params training.precision=32-true."
        )

    def _validate(self, unit: Unit, rate: float, train_loss: float) -> None:
        """Predict the validation fold study by study, and add a row to the history."""
        all_logits: list[Tensor] = []
        all_labels: list[Tensor] = []
        self.network.eval()
        studies = validation_studies(self.job.slices, self.fabric.device, self.threads, self.share)
        with torch.inference_mode(), self.fabric.autocast():
            for hu, slice_nums, labels in studies:
                slices = network_input(hu, self.lut, self.recipe.input)
                (maps,) = whole_study_maps(
                    self.network, [slices[None]], self.air, centre_only=unit.single_slice
                )
                all_logits.append(self.network.classify(maps).logits[0, slice_nums])
                all_labels.append(labels)
        if not all(bool(logits.isfinite().all()) for logits in all_logits):
            raise InputError(
                f"{self.job.title}: the network gives values that are not finite in the validation "
                f"of phase {self.name!r}. {self._stability_advice()}"
            )
        row: dict[str, Any] = {
            "phase": self.name,
            "epoch": unit.epoch_end,
            "step": unit.first_step + unit.batches,
        }
        row |= {"learning_rate": rate, "train_loss": train_loss}
        row |= validation_metrics(all_logits, all_labels)
        self.state.history.append(row)
        self.report.validation(row)
        if self.recipe.keep == "best" and row["val_loss"] < self.state.best_loss:
            self.state.best_loss = row["val_loss"]
            self.state.best_weights = cpu_copy(self.network.state_dict())

    def _save(self, unit: Unit, optimizer: Any) -> None:
        self.state.units_done = unit.index + 1
        if self.fabric.is_global_zero:
            self.state.network = cpu_copy(self.network.state_dict())
            self.state.optimizer = optimizer.state_dict()
            self.state.scaler = self.fabric.strategy.precision.state_dict()
            self.state.write(self.path)
        self.fabric.barrier()

    def _resume(self, optimizer: Any) -> None:
        self.state = PhaseState.read(self.path)
        self.network.load_state_dict(self.state.network)
        optimizer.load_state_dict(self.state.optimizer)
        self.fabric.strategy.precision.load_state_dict(self.state.scaler)

    @contextmanager
    def _explain_out_of_memory(self) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError as error:
            phase, key = self.phase, f"{self.recipe.model}.phases.{self.name}"
            raise ParameterError(
                f"{self.job.title}: a batch of {phase.batch} samples does not fit into GPU "
                f"memory in phase {self.name!r} ({str(error).splitlines()[0][:100]}). Halve "
                f"{key}.batch (now {phase.batch}) and double {key}.accumulate (now "
                f"{phase.accumulate}), or add --params training.precision=bf16-mixed."
            ) from error
