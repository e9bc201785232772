"""What a user is told when a training cannot go on, on one device or several."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.multiprocessing.spawn import ProcessException

from rsna19_kedro.errors import InputError
from rsna19_kedro.files import atomic_path
from rsna19_kedro.training.job import TrainingJob
from rsna19_kedro.training.module import LossNotFinite, PhaseModule


@contextmanager
def explained(module: PhaseModule, job: TrainingJob) -> Iterator[None]:
    """Raise what the user can mend as an ``InputError`` that says how.

    Raises:
        InputError: The loss is not finite, the memory of a device does not suffice, or a
            device's own process raised one.
    """
    try:
        yield
    except (LossNotFinite, torch.OutOfMemoryError) as error:
        raise InputError(_message(error, module, job)) from error
    except ProcessException as error:
        cause = _cause(str(error))
        if isinstance(cause, InputError):
            raise cause from error
        if cause is None:
            raise
        raise InputError(_message(cause, module, job)) from error


def _cause(text: str) -> InputError | LossNotFinite | torch.OutOfMemoryError | None:
    """What a device's own process raised: only the text of it reaches the main process."""
    known = re.search(r"\n\S*InputError: (.*)\Z", text.rstrip(), re.DOTALL)
    if known:
        return InputError(known[1])
    memory = re.search(r"OutOfMemoryError: (.*)", text)
    return torch.OutOfMemoryError(memory[1]) if memory else LossNotFinite.read(text)


def _message(
    error: LossNotFinite | torch.OutOfMemoryError, module: PhaseModule, job: TrainingJob
) -> str:
    """What happened and what to do."""
    if isinstance(error, LossNotFinite):
        return _not_finite(error, module, job)
    return _out_of_memory(error, module, job)


def _not_finite(error: LossNotFinite, module: PhaseModule, job: TrainingJob) -> str:
    """Save which slices the batch held, and say so."""
    names = job.slices.train.studies().study_ids
    note = job.resume / "loss_not_finite.json"
    content = {
        "model": job.recipe.model,
        "fold": job.fold,
        "phase": module.phase_name,
        "batch": error.step,
        "loss": str(error.value),
        "slices": [
            {"study_id": names[study], "slice_num": target} for study, target in error.samples
        ],
    }
    with atomic_path(note) as part:
        part.write_text(json.dumps(content, indent=1))
    recipe = job.recipe.model
    return (
        f"{job.title}: the loss became {error.value} in phase {module.phase_name!r}, batch "
        f"{error.step}. The slices of that batch are listed in {note}. Lower "
        f"{recipe}.phases.{module.phase_name}.learning_rate, set its gradient_clip, or train with "
        "--params training.precision=32-true."
    )


def _out_of_memory(error: Exception, module: PhaseModule, job: TrainingJob) -> str:
    unit, key = module.unit, f"{job.recipe.model}.phases.{module.phase_name}"
    return (
        f"{job.title}: the GPU's memory does not hold a batch of {unit.batch} samples in phase "
        f"{module.phase_name!r} ({str(error).splitlines()[0][:100]}). Halve {key}.batch (now "
        f"{module.phase.batch}) and double {key}.accumulate (now {module.phase.accumulate}), or "
        "add --params training.precision=bf16-mixed."
    )
