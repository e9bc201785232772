"""Nodes of prediction. Torch is imported when a node runs, not when it is wired."""

from pathlib import Path

import pandas as pd

from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.networks.checkpoint import Checkpoint
from rsna19_kedro.prediction.settings import PredictionSettings
from rsna19_kedro.training.recipe import Recipe


def predict_oof(
    checkpoint: Checkpoint,
    volumes: VolumeStore,
    folds: pd.DataFrame,
    parts: Path,
    recipe: Recipe,
    prediction: PredictionSettings,
    fold: int,
) -> pd.DataFrame:
    """Predict the slices of the fold that the checkpoint has not seen.

    Args:
        checkpoint: The trained model of this fold.
        volumes: Prepared volumes.
        folds: Slices with their folds.
        parts: Folder for what a killed run had finished.
        recipe: The model's recipe; names the variants.
        prediction: How the device is used.
        fold: The fold.

    Returns:
        Slice keys, ``model``, ``fold``, ``tta``, six ``pred_*`` and, of a model that predicts
        masks, seven ``area_*``.

    Raises:
        InputError: The checkpoint is of another model or input size.
    """
    held_out = folds[folds["fold"] == fold]
    return _predict(checkpoint, volumes, held_out, parts, recipe, prediction, fold, "held-out")


def predict_test(
    checkpoint: Checkpoint,
    volumes: VolumeStore,
    test_slices: pd.DataFrame,
    parts: Path,
    recipe: Recipe,
    prediction: PredictionSettings,
    fold: int,
) -> pd.DataFrame:
    """Predict the test slices; arguments and columns are those of ``predict_oof``."""
    return _predict(checkpoint, volumes, test_slices, parts, recipe, prediction, fold, "test")


def _predict(
    checkpoint: Checkpoint,
    volumes: VolumeStore,
    slices: pd.DataFrame,
    parts: Path,
    recipe: Recipe,
    prediction: PredictionSettings,
    fold: int,
    what: str,
) -> pd.DataFrame:
    from rsna19_kedro.prediction.tables import predict_slices

    checkpoint.check_fits(recipe.model, recipe.input.crop_px / recipe.input.network_px)
    title = f"{recipe.model} fold {fold} {what} studies"
    table = predict_slices(
        checkpoint, volumes, slices, recipe.variants, prediction, parts, title=title
    )
    table.insert(3, "model", recipe.model)
    table.insert(4, "fold", fold)
    return table
