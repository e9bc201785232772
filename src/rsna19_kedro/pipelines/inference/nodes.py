"""Prediction nodes. Torch is imported when a node runs, not when the pipeline is created."""

from pathlib import Path

import pandas as pd

from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.networks.checkpoint import Checkpoint
from rsna19_kedro.networks.made_from import MADE_FROM, check_held_out
from rsna19_kedro.prediction.settings import PredictionSettings
from rsna19_kedro.provenance.declare import all_but, result_of
from rsna19_kedro.training.recipe import Recipe

# Of the recipe, only variants and input affect predictions: the rest is in the checkpoint.
_IGNORED = (
    *all_but("recipe", Recipe, "model", "input", "variants"),
    *("prediction.accelerator", "prediction.batch_slices", "prediction.part_studies"),
)


@result_of(ignores=_IGNORED, studies_of=("folds",))
def predict_oof(
    checkpoint: Checkpoint,
    volumes: VolumeStore,
    volume_index: pd.DataFrame,
    folds: pd.DataFrame,
    recipe: Recipe,
    prediction: PredictionSettings,
    fold: int,
    folder: Path,
) -> pd.DataFrame:
    """Predict the slices of the held-out fold.

    Args:
        checkpoint: The trained model of this fold.
        volumes: Prepared volumes.
        volume_index: Manifest of the volumes; only ensures that all of them are written.
        folds: Slices with their folds.
        recipe: The model's recipe; names the test-time augmentations.
        prediction: Settings of the device.
        fold: The held-out fold.
        folder: Folder of the model and fold's tables; ``oof_parts/`` holds finished studies until
            the table is saved.

    Returns:
        One row per slice and test-time augmentation: slice keys, ``model``, ``fold``, ``tta``, six
        ``pred_*`` and, for a model that predicts masks, seven ``area_*``.

    Raises:
        ModelError: The checkpoint is of another model, input size or fold, or was trained on
            patients of this fold.
    """
    held_out = folds[folds["fold"] == fold]
    check_held_out(checkpoint.metadata, recipe.model, fold, held_out)
    parts = folder / "oof_parts"
    return _predict(checkpoint, volumes, held_out, recipe, prediction, fold, parts, "held-out")


@result_of(ignores=_IGNORED, studies_of=("test_slices",))
def predict_test(
    checkpoint: Checkpoint,
    volumes: VolumeStore,
    volume_index: pd.DataFrame,
    test_slices: pd.DataFrame,
    recipe: Recipe,
    prediction: PredictionSettings,
    fold: int,
    folder: Path,
) -> pd.DataFrame:
    """Predict the test slices (``test_parts/``); otherwise as ``predict_oof``."""
    check_held_out(checkpoint.metadata, recipe.model, fold, test_slices.head(0))
    parts = folder / "test_parts"
    return _predict(checkpoint, volumes, test_slices, recipe, prediction, fold, parts, "test")


def _predict(
    checkpoint: Checkpoint,
    volumes: VolumeStore,
    slices: pd.DataFrame,
    recipe: Recipe,
    prediction: PredictionSettings,
    fold: int,
    parts: Path,
    what: str,
) -> pd.DataFrame:
    from rsna19_kedro.prediction.tables import predict_slices

    checkpoint.check_fits(recipe.model, recipe.input)
    title = f"{recipe.model} fold {fold} {what} studies"
    table = predict_slices(
        checkpoint, volumes, slices, recipe.variants, prediction, parts, title=title
    )
    table.insert(3, "model", recipe.model)
    table.insert(4, "fold", fold)
    table.attrs[MADE_FROM] = checkpoint.metadata.get(MADE_FROM)
    return table
