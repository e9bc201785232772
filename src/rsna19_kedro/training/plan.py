"""A phase unrolled into units: what every batch of it looks like, before anything is loaded.

A unit is the stretch between two validations. Everything random in it is drawn from its own
place in the plan (seed, phase, unit), so a run that goes on after a kill at a unit's start
sees the same batches and the same draws as one that was never stopped.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rsna19_kedro.errors import InputError
from rsna19_kedro.training.recipe import FlatCosine, OneCycle, Phase, StepDecay


@dataclass(frozen=True)
class Unit:
    """The batches between two validations.

    Attributes:
        index: Its number in the phase.
        epoch: The pass over the training slices that it belongs to, from 0.
        first_step: Number of batches of the phase before it.
        first_sample: Where it starts in the epoch's order of samples.
        batches: Number of batches.
        batch: Samples a batch.
        single_slice: Whether samples are single slices rather than windows.
        epoch_end: The epoch, as a fraction, once the unit is done.
    """

    index: int
    epoch: int
    first_step: int
    first_sample: int
    batches: int
    batch: int
    single_slice: bool
    epoch_end: float


def plan_phase(phase: Phase, samples: int) -> list[Unit]:
    """Unroll a phase for a number of training samples.

    Incomplete batches at an epoch's end are left out.

    Raises:
        InputError: Fewer samples than one batch.
    """
    units: list[Unit] = []
    step = 0
    epoch = 0
    while not _ended(phase, epoch, step):
        single = phase.single_slice_epochs == "all" or epoch < phase.single_slice_epochs
        batch = phase.batch * (2 if single else 1)
        if samples < batch:
            raise InputError(
                f"Phase {phase.name!r} wants batches of {batch}, but there are only {samples} "
                "training slices in the other folds. Lower the phase's 'batch' in the model's YAML."
            )
        total = samples // batch
        edges = [
            round(total * i / phase.validations_per_epoch)
            for i in range(phase.validations_per_epoch + 1)
        ]
        for start, stop in pairwise(edges):
            left = math.inf if phase.steps is None else phase.steps - step
            batches = int(min(stop - start, left))
            if batches < 1:
                continue
            end = epoch + (start + batches) / total
            units.append(Unit(len(units), epoch, step, start * batch, batches, batch, single, end))
            step += batches
        epoch += 1
    return units


def _ended(phase: Phase, epoch: int, step: int) -> bool:
    by_epochs = phase.epochs is not None and epoch >= phase.epochs
    by_steps = phase.steps is not None and step >= phase.steps
    return by_epochs or by_steps


def unit_samples(unit: Unit, samples: int, seed: tuple[int, ...]) -> np.ndarray:
    """Numbers of the samples of a unit, in their order.

    Args:
        unit: From ``plan_phase``.
        samples: Number of training samples.
        seed: Identifies the training and the phase; the epoch is added to it.
    """
    order = np.random.default_rng([*seed, unit.epoch]).permutation(samples)
    return order[unit.first_sample : unit.first_sample + unit.batches * unit.batch]


def learning_rate(phase: Phase, step: int, epoch: int, total_steps: int) -> float:
    """Rate of one batch.

    Args:
        phase: Rate and schedule.
        step: Batches of the phase before this one.
        epoch: Epoch of the batch, from 0.
        total_steps: Batches of the whole phase.
    """
    rate, schedule = phase.learning_rate, phase.schedule
    match schedule:
        case StepDecay():
            passed = sum(epoch >= start for start in schedule.from_epochs)
            return rate * schedule.factor**passed
        case FlatCosine():
            done = (step - schedule.flat_steps) / schedule.cosine_steps
            return schedule.min_lr + (rate - schedule.min_lr) * _half_cosine(done)
        case OneCycle():
            rise = max(1, round(schedule.warm_up * total_steps))
            if step < rise:
                return rate * (step + 1) / rise
            return rate * max(0.001, _half_cosine((step - rise) / max(1, total_steps - rise)))
        case None:
            return rate


def _half_cosine(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * min(max(done, 0.0), 1.0)))


def is_frozen(phase: Phase, step: int) -> bool:
    """Whether the encoder is frozen in a batch."""
    return phase.frozen_steps == "all" or step < phase.frozen_steps
