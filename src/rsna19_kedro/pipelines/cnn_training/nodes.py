"""Node of the training pipelines. Torch is imported when a node runs, not when it is wired."""

import logging
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from rsna19_kedro.ct.lut import lut_from_table
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.networks.checkpoint import Checkpoint
from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.training.recipe import Recipe

logger = logging.getLogger(__name__)


def train_fold(
    labels: pd.DataFrame,
    volumes: VolumeStore,
    volume_index: pd.DataFrame,
    hu_lut: pd.DataFrame,
    resume: Path,
    recipe: Recipe,
    fold: int,
) -> tuple[Checkpoint, pd.DataFrame]:
    """Train a model on all folds but one.

    Args:
        labels: Slices with fold and labels, the model's own table.
        volumes: Prepared volumes.
        volume_index: Manifest of the volumes.
        hu_lut: Table ``hu``, ``value``.
        resume: Folder with the state of a killed training; emptied at the end.
        recipe: The model's recipe.
        fold: The fold that is held out.

    Returns:
        The checkpoint, and the history with a row a validation.
    """
    import torch

    from rsna19_kedro.training.fit import split_fold, train_model

    lut = torch.from_numpy(lut_from_table(hu_lut))
    train, validation = split_fold(labels, volume_index, fold)
    network, weights, rows = train_model(recipe, fold, train, validation, volumes, lut, resume)
    history = pd.DataFrame(rows)
    history.insert(0, "model", recipe.model)
    history.insert(1, "fold", fold)
    logger.info(
        "%s fold %d: validation loss %.4f after %d validations",
        recipe.model,
        fold,
        history["val_loss"].iloc[-1],
        len(history),
    )
    checkpoint = Checkpoint(
        spec=network.spec,
        weights=weights,
        hu_lut=lut,
        crop_px=recipe.input.crop_px,
        resize_px=recipe.input.network_px,
        metadata=_metadata(recipe, fold, history),
    )
    _empty(resume)
    return checkpoint, history


def _metadata(recipe: Recipe, fold: int, history: pd.DataFrame) -> dict[str, Any]:
    kept = history["val_loss"].idxmin() if recipe.keep == "best" else history.index[-1]
    return {
        "model": recipe.model,
        "fold": fold,
        "labels": ZOO[recipe.model].labels,
        "val_loss": float(history.loc[kept, "val_loss"]),
        "epoch": float(history.loc[kept, "epoch"]),
        "recipe": recipe.model_dump(mode="json"),
        "versions": {name: version(name) for name in ("rsna19_kedro", "torch", "timm")},
    }


def _empty(folder: Path) -> None:
    """Remove the resume state: from here on the checkpoint says that the fold is trained."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
