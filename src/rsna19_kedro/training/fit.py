"""Train one model on one fold through all phases of its recipe, resumable."""

import logging
import multiprocessing
import pickle
import re
from functools import partial
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch.multiprocessing.spawn import ProcessException

from rsna19_kedro import errors
from rsna19_kedro.networks.build import build_network, start_from
from rsna19_kedro.networks.network_input import air_value
from rsna19_kedro.networks.slice_network import SliceNetwork
from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.training.job import Trained, TrainingJob
from rsna19_kedro.training.loop import PhaseLoop
from rsna19_kedro.training.plan import Unit, plan_phase
from rsna19_kedro.training.samples import ReducedStore, SampleReader
from rsna19_kedro.training.state import PhaseState, refuse_other_states, state_path

logger = logging.getLogger(__name__)


def train_model(job: TrainingJob) -> Trained:
    """Train a model through all remaining phases of its recipe.

    Raises:
        InputError: Something that the user can fix: batches that do not fit the fold or the
            memory, a loss that is not finite, initial weights that are missing.
    """
    refuse_other_states(job)
    several = job.settings.devices > 1
    fabric = Fabric(
        accelerator=job.settings.accelerator,
        devices=job.settings.devices,
        # Unused: the frozen encoder, and the combiner's side taps in single-slice epochs.
        strategy=DDPStrategy(start_method="spawn", find_unused_parameters=True)
        if several
        else "auto",
        precision=job.precision,
    )
    try:
        if several:
            # As bytes: tensors among the arguments would go through shared memory, which is small
            # in containers.
            fabric.launch(partial(_train_pickled, pickled_job=pickle.dumps(job)))
        else:
            train_phases(fabric, job)
    except ProcessException as error:
        raise _error_of_process(str(error)) or error from error
    finally:
        for process in multiprocessing.active_children():
            process.terminate()  # Of the other devices, if this one is interrupted.
    phases = len(job.recipe.phases.in_order())
    state = PhaseState.read(state_path(job.resume, phases - 1))
    return Trained(state.best_weights or state.network, state.history)


def _train_pickled(fabric: Fabric, pickled_job: bytes) -> None:
    train_phases(fabric, pickle.loads(pickled_job))


def train_phases(fabric: Fabric, job: TrainingJob) -> None:
    """Train all phases on one device (one process per device)."""
    recipe, spec = job.recipe, ZOO[job.recipe.model]
    torch.manual_seed(recipe.seed + 1000 * job.fold)
    network = initial_network(job)
    if fabric.device.type == "cuda" and job.settings.channels_last:
        network.encoder.to(memory_format=torch.channels_last)  # Slower on a CPU.
    if job.settings.compile:
        network.encoder.compile()
    reduced = None
    if recipe.input.resize_px is not None:
        studies = job.slices.train.study_ids
        reduced = ReducedStore(job.slices.store, studies, job.hu_lut, recipe.input)
    reader = SampleReader(
        job.slices,
        spec.window,
        spec.channels,
        recipe.run_slices,
        (reduced, air_value(job.hu_lut, recipe.input)) if reduced else None,
    )
    plans = plan_phases(job, reader)
    history: list[dict[str, Any]] = []
    saved = [number for number in range(len(plans)) if state_path(job.resume, number).is_file()]
    for number in range(saved[-1] if saved else 0, len(plans)):
        if saved and number == saved[-1]:
            logger.info("%s resumes in phase %s", job.title, recipe.phases.in_order()[number][0])
        loop = PhaseLoop(fabric, job, reader, network, number, plans[number], history)
        history = loop.run().history


def plan_phases(job: TrainingJob, reader: SampleReader) -> list[list[Unit]]:
    """Plan every phase of a recipe.

    Raises:
        ParameterError: The devices cannot share a batch evenly.
        InputError: Fewer samples than one batch.
    """
    if job.recipe.mask_loss_weight and not len(reader.masked):
        logger.warning("%s: no training slice has a mask; the decoder cannot learn", job.title)
    plans = [
        plan_phase(phase, len(reader), len(reader.masked))
        for _, phase in job.recipe.phases.in_order()
    ]
    devices = job.settings.devices
    for unit in (unit for plan in plans for unit in plan):
        if unit.batch % devices:
            raise errors.ParameterError(
                f"{devices} devices cannot share a batch of {unit.batch} evenly."
            )
    return plans


def initial_network(job: TrainingJob) -> SliceNetwork:
    """Build the network with the initial weights of the recipe.

    Raises:
        ModelError: The parent's checkpoint is missing, or of another model or resolution.
    """
    recipe = job.recipe
    network = build_network(
        ZOO[recipe.model],
        dropout=recipe.dropout,
        weights=None if recipe.parent else recipe.initial_weights,
        weights_folder=job.settings.weights_folder,
        size=recipe.input,
    )
    if recipe.parent:
        if job.parent is None:
            raise errors.ModelError(f"{job.title} starts from {recipe.parent}, which is missing.")
        job.parent.check_fits(recipe.parent, recipe.input)
        start_from(network, job.parent.weights)
    return network


def _error_of_process(text: str) -> errors.InputError | None:
    """Rebuild an ``InputError`` of another process from its text."""
    match = re.search(r"\nrsna19_kedro\.errors\.(\w+): (.*)\Z", text.rstrip(), re.DOTALL)
    return getattr(errors, match[1])(match[2]) if match else None
