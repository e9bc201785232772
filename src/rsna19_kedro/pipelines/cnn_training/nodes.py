"""Training node. Torch is imported when the node runs, not when the pipeline is created."""

import logging
import time
from pathlib import Path
from typing import Any

import pandas as pd

from rsna19_kedro.ct.lut import lut_from_table
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.errors import counted
from rsna19_kedro.files import empty_folder, warn_if_short
from rsna19_kedro.networks.checkpoint import Checkpoint
from rsna19_kedro.networks.made_from import (
    MADE_FROM,
    PATIENTS,
    check_held_out,
    describe_training,
    hashed_patients,
)
from rsna19_kedro.networks.training_data import TRAINING_DATA, describe_training_data
from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.provenance.declare import result_of
from rsna19_kedro.training.recipe import Recipe, TrainingSettings
from rsna19_kedro.version import package_versions

from .files import initial_weight_files

logger = logging.getLogger(__name__)

_TRAINING_BYTES = 1e9
"""Disk space for checkpoint and resume states of the largest network: 25 million parameters of
4 bytes, 9 times (network, best weights and two moments of the optimiser, all while the next state
is written). An estimate for the warning about disk space."""


@result_of(
    ignores=(
        *("recipe.variants", "training.accelerator", "training.readers"),
        "training.weights_folder",
    ),
    studies_of=("labels", "validation_labels"),
    files=initial_weight_files,
)
def train_fold(
    labels: pd.DataFrame,
    validation_labels: pd.DataFrame,
    volumes: VolumeStore,
    volume_index: pd.DataFrame,
    hu_lut: pd.DataFrame,
    download_facts: dict[str, Any],
    recipe: Recipe,
    training: TrainingSettings,
    fold: int,
    folder: Path,
    parent: Checkpoint | None = None,
    masks: VolumeStore | None = None,
) -> tuple[pd.DataFrame, Checkpoint]:
    """Train a model on all folds except one.

    Args:
        labels: Slices with fold and labels, from the model's table.
        validation_labels: The table whose fold scores the model during training.
        volumes: Prepared volumes.
        volume_index: Manifest of the volumes.
        hu_lut: Table ``hu``, ``value``; not used with windows.
        download_facts: ``synthetic``: whether the slices are phantoms.
        recipe: The model's recipe.
        training: Settings of the machine.
        fold: The held-out fold.
        folder: Folder of this model and fold: ``resume/`` holds the state of an interrupted
            training until the checkpoint is saved, ``tensorboard/`` the log for TensorBoard.
        parent: Checkpoint of the model that this one starts from, of the same fold.
        masks: Masks aligned with the volumes, for a model with a decoder.

    Returns:
        The history, one row per validation, and the checkpoint.
    """
    import torch

    from rsna19_kedro.training.fit import train_model
    from rsna19_kedro.training.job import TrainingJob, split_fold
    from rsna19_kedro.training.samples import FoldSlices

    lut = torch.from_numpy(lut_from_table(hu_lut))
    if parent is not None:
        held_out = validation_labels[validation_labels["fold"] == fold]
        check_held_out(
            parent.metadata, f"{parent.spec.name}, which {recipe.model} starts from", fold, held_out
        )
    train, validation = split_fold(labels, volume_index, fold, validation_labels)
    slices = FoldSlices(volumes, train, validation, masks)
    resume, tensorboard = folder / "resume", folder / "tensorboard"
    warn_if_short(folder, _TRAINING_BYTES, f"The training of {recipe.model}, fold {fold},")
    if not any(resume.glob("phase_*.ckpt")):
        empty_folder(tensorboard)  # A new training starts new curves.
    job = TrainingJob(recipe, training, fold, slices, lut, resume, tensorboard, parent)
    started = time.monotonic()
    trained = train_model(job)
    history = pd.DataFrame(trained.history)
    history.insert(0, "model", recipe.model)
    history.insert(1, "fold", fold)
    logger.info(
        "%s: trained in %.0f s, last of %s: loss %.4f",
        job.title,
        time.monotonic() - started,
        counted(len(history), "validation"),
        history["val_loss"].iloc[-1],
    )
    training_slices = labels[labels["fold"] != fold]
    described = describe_training_data(training_slices, synthetic=download_facts["synthetic"])
    checkpoint = Checkpoint(
        spec=ZOO[recipe.model],
        weights=trained.weights,
        hu_lut=lut,
        crop_px=recipe.input.crop_px,
        resize_px=recipe.input.network_px,
        windows=recipe.input.windows,
        metadata={
            **_metadata(recipe, fold, history),
            "precision": job.precision,
            TRAINING_DATA: described,
            PATIENTS: hashed_patients(training_slices["patient_id"], salt=described["sha256"]),
            MADE_FROM: describe_training(
                recipe.model_dump(mode="json"),
                lut.numpy() if recipe.input.windows is None else None,
                {ZOO[recipe.model].labels: labels},
                {name: value.numpy() for name, value in trained.weights.items()},
            ),
        },
    )
    return history, checkpoint


def _metadata(recipe: Recipe, fold: int, history: pd.DataFrame) -> dict[str, Any]:
    kept = history["val_loss"].idxmin() if recipe.keep == "best" else history.index[-1]
    return {
        "model": recipe.model,
        "fold": fold,
        "labels": ZOO[recipe.model].labels,
        "val_loss": float(history.loc[kept, "val_loss"]),
        "epoch": float(history.loc[kept, "epoch"]),
        "recipe": recipe.model_dump(mode="json"),
        "versions": package_versions("rsna19_kedro", "torch", "timm"),
    }
