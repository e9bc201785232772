"""The resume state of a phase, and the check that it belongs to the same training."""

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import torch
from torch import Tensor

from rsna19_kedro.errors import ModelError
from rsna19_kedro.files import atomic_path
from rsna19_kedro.provenance.parameters import flatten
from rsna19_kedro.training.job import TrainingJob

logger = logging.getLogger(__name__)

_MAX_SHOWN = 3

_FORMAT = 3
"""Increased when states of an earlier version can no longer be resumed."""


@dataclass
class PhaseState:
    """State that is saved after each unit and from which a phase resumes.

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
        """Read a state; only tensors and plain values are unpickled."""
        return cls(**torch.load(path, map_location="cpu", weights_only=True))


def cpu_copy(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy weights to the CPU."""
    return {name: value.detach().cpu().clone() for name, value in weights.items()}


def state_path(resume: Path, phase: int) -> Path:
    """Path of the state of a phase, numbered from 0."""
    return resume / f"phase_{phase}.ckpt"


def refuse_other_states(job: TrainingJob) -> None:
    """Refuse states of another recipe, precision or initial weights, or of other slices or labels.

    Raises:
        ModelError: The training differs; the message says how, and how to resume or discard it.
    """
    identity = _identity(job)
    note = job.resume / "training.json"
    states = list(job.resume.glob("phase_*.ckpt"))
    if states and note.is_file():
        recorded = json.loads(note.read_text())
        if recorded.pop("format") == _FORMAT:
            differing = [
                f"{name} {recorded.get(name)} -> {identity.get(name)}"
                for name in sorted(recorded.keys() | identity.keys())
                if recorded.get(name) != identity.get(name)
            ]
            if not differing:
                return
            raise ModelError(
                f"{job.resume} holds an unfinished training of {job.title} that differs from this: "
                f"{'; '.join(differing[:_MAX_SHOWN])}. Resume it with the parameters that it "
                "was started with, or discard it: kedro rsna19 clean --resume --model "
                f"{job.recipe.model} --yes"
            )
    for state in states:
        logger.warning(
            "%s is of another version of this program: starting the training again", state
        )
        state.unlink()
    with atomic_path(note) as part:
        part.write_text(json.dumps({"format": _FORMAT, **identity}))


def _identity(job: TrainingJob) -> dict[str, Any]:
    """Return what determines a training: its recipe as plain values, and digests of its inputs."""
    recipe = job.recipe.model_dump(mode="json", exclude={"variants"})
    parent = job.parent.weights if job.parent else {}
    inputs = {
        "look-up table": job.hu_lut.numpy(),
        "training slices": vars(job.slices.train),
        "validation slices": vars(job.slices.validation),
        "weights to start from": {name: value.numpy() for name, value in parent.items()},
    }
    plain = flatten("", {**recipe, "precision": job.precision})
    return {
        **{name.removeprefix("."): value for name, value in plain.items()},
        **{name: joblib.hash(value) for name, value in inputs.items()},
    }
