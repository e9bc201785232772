"""Learning rate and encoder freezing per batch."""

import math

from rsna19_kedro.training.recipe import FlatCosine, OneCycle, Phase, StepDecay


def learning_rate(phase: Phase, step: int, epoch: int, total_steps: int) -> float:
    """Return the learning rate of one batch.

    Args:
        phase: Initial rate and schedule.
        step: Batches of the phase before this one.
        epoch: Epoch of the batch, from 0.
        total_steps: Batches of the phase.
    """
    rate, schedule = phase.learning_rate, phase.schedule
    match schedule:
        case StepDecay():
            decays = sum(epoch >= start for start in schedule.from_epochs)
            return rate * schedule.factor**decays
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
