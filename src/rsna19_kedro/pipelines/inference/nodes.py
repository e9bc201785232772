"""Nodes of prediction. Torch is imported when a node runs, not when it is wired."""

import pandas as pd

from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.networks.checkpoint import Checkpoint
from rsna19_kedro.training.recipe import Recipe


def predict_oof(
    checkpoint: Checkpoint,
    volumes: VolumeStore,
    folds: pd.DataFrame,
    recipe: Recipe,
    fold: int,
) -> pd.DataFrame:
    """Predict the slices of the fold that the checkpoint has not seen.

    Returns:
        Slice keys, ``model``, ``fold``, ``tta`` and six ``pred_*``.
    """
    return _predict(checkpoint, volumes, folds[folds["fold"] == fold], recipe, fold, "held-out")


def predict_test(
    checkpoint: Checkpoint,
    volumes: VolumeStore,
    test_slices: pd.DataFrame,
    recipe: Recipe,
    fold: int,
) -> pd.DataFrame:
    """Predict the test slices; the columns are those of ``predict_oof``."""
    return _predict(checkpoint, volumes, test_slices, recipe, fold, "test")


def _predict(
    checkpoint: Checkpoint,
    volumes: VolumeStore,
    slices: pd.DataFrame,
    recipe: Recipe,
    fold: int,
    what: str,
) -> pd.DataFrame:
    from rsna19_kedro.prediction.tables import predict_slices

    title = f"{recipe.model} fold {fold} {what} studies"
    table = predict_slices(checkpoint, volumes, slices, recipe.variants, title=title)
    table.insert(3, "model", recipe.model)
    table.insert(4, "fold", fold)
    return table
