"""A phase unrolled into units: what every batch of it looks like, before anything is loaded.

A unit is a stretch of batches after which the state of the training is saved: an epoch, or a
part of one. Everything random in it is drawn from its own place in the plan (seed, phase,
unit), so a run that goes on after a kill at a unit's start sees the same batches and the same
draws as one that was never stopped.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rsna19_kedro.errors import InputError
from rsna19_kedro.training.recipe import Phase


@dataclass(frozen=True)
class Unit:
    """The batches between two states that are saved.

    Attributes:
        index: Its number in the phase.
        epoch: The pass over the training samples that it belongs to, from 0.
        samples: Number of samples of that pass, repetitions included.
        first_step: Number of batches of the phase before it.
        first_sample: Where it starts in the epoch's order of samples.
        batches: Number of batches.
        batch: Samples a batch.
        single_slice: Whether samples are single slices rather than windows.
        epoch_end: The epoch, as a fraction, once the unit is done.
        validates: Whether the validation fold is predicted after it.
    """

    index: int
    epoch: int
    samples: int
    first_step: int
    first_sample: int
    batches: int
    batch: int
    single_slice: bool
    epoch_end: float
    validates: bool


def plan_phase(phase: Phase, samples: int, masked: int = 0) -> list[Unit]:
    """Unroll a phase for a number of training samples.

    Incomplete batches at an epoch's end are left out.

    Args:
        phase: Lengths and batches.
        samples: Training samples an epoch.
        masked: How many of them have a mask.

    Raises:
        InputError: Fewer samples than one batch.
    """
    units: list[Unit] = []
    step = 0
    epoch = 0
    while not _ended(phase, epoch, step):
        single = phase.single_slice_epochs == "all" or epoch < phase.single_slice_epochs
        batch = phase.batch * (2 if single else 1)
        shown = samples + _repeated(phase, epoch, masked)
        if shown < batch:
            raise InputError(
                f"Batches of {batch} are wanted, but there are only {samples} training samples "
                "in the other folds. Lower the phase's 'batch' in the model's YAML."
            )
        total = shown // batch
        left = math.inf if phase.steps is None else phase.steps - step
        if phase.epochs is not None:
            left = min(left, max(1, round((phase.epochs - epoch) * total)))
        parts = phase.validations_per_epoch
        # Whole updates but for the epoch's last.
        updates = total / phase.accumulate
        edges = [round(updates * part / parts) * phase.accumulate for part in range(parts)]
        edges.append(total)
        for start, stop in pairwise(edges):
            batches = int(min(stop, left) - start)
            if batches < 1:
                continue
            end = epoch + (start + batches) / total
            validates = (epoch + 1) % phase.epochs_per_validation == 0
            place = (len(units), epoch, shown, step, start * batch)
            units.append(Unit(*place, batches, batch, single, end, validates))
            step += batches
        epoch += 1
    units[-1] = Unit(**{**units[-1].__dict__, "validates": True})
    return units


def _ended(phase: Phase, epoch: int, step: int) -> bool:
    by_epochs = phase.epochs is not None and epoch >= phase.epochs
    return by_epochs or (phase.steps is not None and step >= phase.steps)


def _repeated(phase: Phase, epoch: int, masked: int) -> int:
    """Samples that an epoch shows again because they have a mask."""
    repeats = phase.mask_repeats
    if repeats is None or (repeats.epochs != "all" and epoch >= repeats.epochs):
        return 0
    return (repeats.times - 1) * masked


def unit_samples(unit: Unit, seed: tuple[int, ...]) -> np.ndarray:
    """Samples of a unit in their order, as numbers below ``unit.samples``.

    Args:
        unit: The unit.
        seed: Identifies the training and the phase; the epoch is added here.
    """
    order = np.random.default_rng([*seed, unit.epoch]).permutation(unit.samples)
    return order[unit.first_sample : unit.first_sample + unit.batches * unit.batch]


def run_starts(unit: Unit, seed: tuple[int, ...], study_slices: np.ndarray, run: int) -> np.ndarray:
    """First predicted slice of each study's run in this epoch.

    Args:
        unit: The unit.
        seed: See ``unit_samples``.
        study_slices: ``(N,)`` slices of each study.
        run: Predicted slices of a run; shorter studies start at 0.
    """
    draws = np.random.default_rng([*seed, unit.epoch, 1]).random(len(study_slices))
    return np.floor(draws * np.maximum(study_slices - run + 1, 1)).astype(np.int64)
