"""Plan of a phase: all of its batches in units, known before data is read.

A unit is a range of batches after which the training state is saved: an epoch or a part of one.
Its random numbers depend only on its position in the plan (seed, phase, unit), so that a run
resumed at the start of a unit sees the same batches and draws as an uninterrupted run.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rsna19_kedro.errors import InputError
from rsna19_kedro.training.recipe import Phase


@dataclass(frozen=True)
class Unit:
    """The batches between two saved states.

    Attributes:
        index: Number of the unit in the phase.
        epoch: Epoch of the unit, from 0.
        samples: Samples of that epoch, including repetitions.
        first_step: Batches of the phase before this unit.
        first_sample: Position of its first sample in the epoch's order.
        batches: Number of batches.
        batch: Samples per batch.
        single_slice: Whether samples are single slices rather than windows.
        epoch_end: Epoch at the end of the unit, as a fraction.
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
    """Divide a phase into units.

    An incomplete batch at the end of an epoch is dropped.

    Args:
        phase: Length and batch size.
        samples: Training samples per epoch.
        masked: Number of samples with a mask.

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
                f"The batch size is {batch}, but there are only {samples} training samples "
                "in the other folds. Lower the phase's 'batch' in the model's YAML."
            )
        total = shown // batch
        left = math.inf if phase.steps is None else phase.steps - step
        if phase.epochs is not None:
            left = min(left, max(1, round((phase.epochs - epoch) * total)))
        parts = phase.validations_per_epoch
        # Units end with an optimiser update; only the last update of an epoch may be smaller.
        updates = total / phase.accumulate
        edges = [round(updates * part / parts) * phase.accumulate for part in range(parts)]
        edges.append(total)
        for start, stop in pairwise(edges):
            batches = int(min(stop, left) - start)
            if batches < 1:
                continue
            end = epoch + (start + batches) / total
            validates = (epoch + 1) % phase.epochs_per_validation == 0
            position = (len(units), epoch, shown, step, start * batch)
            units.append(Unit(*position, batches, batch, single, end, validates))
            step += batches
        epoch += 1
    units[-1] = Unit(**{**units[-1].__dict__, "validates": True})
    return units


def _ended(phase: Phase, epoch: int, step: int) -> bool:
    by_epochs = phase.epochs is not None and epoch >= phase.epochs
    return by_epochs or (phase.steps is not None and step >= phase.steps)


def _repeated(phase: Phase, epoch: int, masked: int) -> int:
    """Return the number of repeated samples with a mask in an epoch."""
    repeats = phase.mask_repeats
    if repeats is None or (repeats.epochs != "all" and epoch >= repeats.epochs):
        return 0
    return (repeats.times - 1) * masked


def unit_samples(unit: Unit, seed: tuple[int, ...]) -> np.ndarray:
    """Return the samples of a unit in order, as numbers below ``unit.samples``.

    Args:
        unit: The unit.
        seed: Identifies the training and the phase; the epoch is added here.
    """
    order = np.random.default_rng([*seed, unit.epoch]).permutation(unit.samples)
    return order[unit.first_sample : unit.first_sample + unit.batches * unit.batch]


def run_starts(unit: Unit, seed: tuple[int, ...], study_slices: np.ndarray, run: int) -> np.ndarray:
    """Return the first predicted slice of each study's run in this epoch.

    Args:
        unit: The unit.
        seed: See ``unit_samples``.
        study_slices: ``(N,)`` slices of each study.
        run: Predicted slices per run; shorter studies start at 0.
    """
    draws = np.random.default_rng([*seed, unit.epoch, 1]).random(len(study_slices))
    return np.floor(draws * np.maximum(study_slices - run + 1, 1)).astype(np.int64)
