"""Train one model on one fold: the recipe's phases one after the other, resumable."""

import hashlib
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.errors import InputError
from rsna19_kedro.files import atomic_path
from rsna19_kedro.networks.slice_network import SliceNetwork
from rsna19_kedro.networks.zoo import ZOO, ModelSpec
from rsna19_kedro.training.data import FoldData, ReducedSlices, SliceTable
from rsna19_kedro.training.module import PhaseModule
from rsna19_kedro.training.plan import plan_phase
from rsna19_kedro.training.progress import TrainingProgress
from rsna19_kedro.training.recipe import Recipe

logger = logging.getLogger(__name__)

# Lightning sets its own level when it is imported, and says at each fit which devices it found.
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def split_fold(
    slices: pd.DataFrame, volume_index: pd.DataFrame, fold: int
) -> tuple[SliceTable, SliceTable]:
    """Slices of the other folds, and of this one.

    Raises:
        InputError: One of the two is empty, or there is no positive slice to learn from.
    """
    held_out = slices["fold"] == fold
    train, validation = slices[~held_out], slices[held_out]
    for part, name in ((train, "the other folds hold"), (validation, f"fold {fold} holds")):
        if part.empty:
            raise InputError(f"Cannot train fold {fold}: {name} no labelled slices.")
    positives = train[list(CLASSES)].sum()
    if positives["any"] == 0:
        raise InputError(
            f"Cannot train fold {fold}: none of the {len(train)} training slices is positive."
        )
    for name in positives.index[positives == 0]:
        logger.warning("Fold %d: no training slice of class %s; it cannot be learnt", fold, name)
    return SliceTable.from_frame(train, volume_index), SliceTable.from_frame(
        validation, volume_index
    )


def train_model(
    recipe: Recipe,
    fold: int,
    train: SliceTable,
    validation: SliceTable,
    store: VolumeStore,
    hu_lut: Tensor,
    resume: Path,
) -> tuple[SliceNetwork, dict[str, Tensor], list[dict[str, Any]]]:
    """Train a model through all phases of its recipe.

    Args:
        recipe: The recipe; its ``model`` is a name of the zoo.
        fold: Number of the validation fold, for seeds and messages.
        train: Slices to learn from.
        validation: Slices to judge by.
        store: Prepared volumes.
        hu_lut: ``(1401,)`` float32.
        resume: Folder with the state of an earlier, killed training; kept up to date.

    Returns:
        The network, the weights that the recipe keeps, and the history's rows.
    """
    spec = ZOO[recipe.model]
    _forget_another_training(resume, recipe, train)
    torch.manual_seed(recipe.seed + 1000 * fold)
    network = _initial_network(spec, recipe)
    plans = [plan_phase(phase, len(train)) for phase in recipe.phases]
    history: list[dict[str, Any]] = []
    batches = [sum(unit.batches for unit in units) for units in plans]
    weights: dict[str, Tensor] = {}
    side_px = store.shape(train.study_ids[0])[-1]
    reduced = None
    if recipe.input.resize_px is not None:
        studies = dict.fromkeys(train.study_ids)
        reduced = ReducedSlices(store, studies, hu_lut, recipe.input)
    with TrainingProgress(f"{recipe.model} fold {fold}", batches) as progress:
        for number, units in enumerate(plans):
            progress.phase = number
            if (resume / f"phase_{number + 1}.ckpt").is_file():
                continue  # A later phase has begun: its state holds all that this one left.
            seed = (recipe.seed, fold, number)
            module = PhaseModule(
                network, recipe, recipe.phases[number], units, hu_lut, seed, side_px, history
            )
            data = FoldData(
                store,
                train,
                validation,
                units=units,
                seed=seed,
                window=spec.window,
                single_window=spec.channels,
                workers=recipe.loader_workers,
                reduced=reduced,
                air=float(hu_lut[0]),
            )
            _fit_phase(module, data, recipe, number, resume, progress)
            weights = module.kept_weights()
    return network, weights, history


def _forget_another_training(resume: Path, recipe: Recipe, train: SliceTable) -> None:
    """Remove a resume state that was left by another recipe or other training slices."""
    identity = {
        "recipe": recipe.model_dump(mode="json"),
        "slices": hashlib.sha256(
            repr([train.study_ids, train.slice_nums.tolist(), train.labels.tolist()]).encode()
        ).hexdigest(),
    }
    note = resume / "training.json"
    if note.is_file() and json.loads(note.read_text()) == identity:
        return
    for state in resume.glob("phase_*.ckpt"):
        logger.warning("%s is of another recipe or other slices: training starts anew", state)
        state.unlink()
    with atomic_path(note) as part:
        part.write_text(json.dumps(identity))


def _initial_network(spec: ModelSpec, recipe: Recipe) -> SliceNetwork:
    given = recipe.initial_weights
    pretrained: bool | str = given == "imagenet" or (given or False)
    network = SliceNetwork(spec, dropout=recipe.dropout, pretrained=pretrained)
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    network.encoder.to(memory_format=layout)
    return network


def _fit_phase(
    module: PhaseModule,
    data: FoldData,
    recipe: Recipe,
    number: int,
    resume: Path,
    progress: TrainingProgress,
) -> None:
    state = resume / f"phase_{number}.ckpt"
    keeper = ModelCheckpoint(
        dirpath=resume,
        filename=state.stem,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    with warnings.catch_warnings():
        # Lightning's advice on workers, devices and batch sizes is settled by the recipe.
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*torch.load.*")
        trainer = L.Trainer(
            accelerator="auto",
            devices=_devices(recipe),
            precision=recipe.precision,
            max_epochs=len(module.units),
            accumulate_grad_batches=module.phase.accumulate,
            gradient_clip_val=module.phase.gradient_clip,
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            logger=False,
            callbacks=[progress, keeper],
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        if state.is_file():
            logger.info("%s goes on from %s", progress.title, state.name)
        trainer.fit(module, data, ckpt_path=state if state.is_file() else None, weights_only=False)
    module.to("cpu")
    for older in resume.glob("phase_*.ckpt"):
        if older != state:
            older.unlink()


def _devices(recipe: Recipe) -> int:
    return 1 if recipe.devices == "auto" else recipe.devices
