"""The resume state: what a phase has done so far, and which training it belongs to."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import torch
from torch import Tensor

from rsna19_kedro.files import atomic_path
from rsna19_kedro.training.job import TrainingJob

logger = logging.getLogger(__name__)

_FORMAT = 2
"""Raised when states of an earlier version can no longer be resumed."""


@dataclass
class PhaseState:
    """What is saved after each unit; a resumed phase continues from it.

    Attributes:
        history: One row per validation, of all phases so far.
        units_done: Units of this phase that are finished.
        best_loss: Lowest validation loss of this phase.
        best_weights: Weights of the network at that validation; empty unless the recipe keeps
            the best.
        network: ``state_dict`` of the network, on the CPU.
        optimizer: ``state_dict`` of the optimiser.
        scaler: State of the gradient scaler; empty unless the precision is ``16-mixed``.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    units_done: int = 0
    best_loss: float = math.inf
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    network: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the state atomically, and remove those of earlier phases."""
        with atomic_path(path) as part:
            torch.save(self.__dict__, part)
        for older in set(path.parent.glob("phase_*.ckpt")) - {path}:
            older.unlink()

    @classmethod
    def read(cls, path: Path) -> "PhaseState":
        """Read a state; nothing in the file is unpickled but tensors and plain values."""
        return cls(**torch.load(path, map_location="cpu", weights_only=True))


def cpu_copy(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy weights to the CPU."""
    return {name: value.detach().cpu().clone() for name, value in weights.items()}


def state_path(resume: Path, phase: int) -> Path:
    """Path of the state of a phase, numbered from 0."""
    return resume / f"phase_{phase}.ckpt"


def discard_other_states(job: TrainingJob) -> None:
    """Remove the states of another training: another recipe, start, slices, labels or precision."""
    parts = (job.recipe.model_dump(mode="json"), job.precision, job.hu_lut.numpy())
    tables = (vars(job.slices.train), vars(job.slices.validation))
    start = {name: value.numpy() for name, value in job.parent.weights.items()} if job.parent else 0
    identity = joblib.hash((_FORMAT, *parts, *tables, start))
    note = job.resume / "training.txt"
    if note.is_file() and note.read_text() == identity:
        return
    for state in job.resume.glob("phase_*.ckpt"):
        logger.warning("%s belongs to another recipe or other slices: training starts anew", state)
        state.unlink()
    with atomic_path(note) as part:
        part.write_text(identity)
