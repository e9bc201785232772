"""The recipes of the configuration as passed to the nodes."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from omegaconf import OmegaConf

from rsna19_kedro.networks.input_size import InputSize
from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.training.recipe import Recipe, TrainingSettings

REFERENCE = [name for name, spec in ZOO.items() if spec.reference]
"""The thirteen models of the reference solution."""

CONF = Path(__file__).resolve().parents[1] / "conf"


def base_recipe(name: str, **changes: object) -> Recipe:
    """Return a model's recipe of the base environment, with some keys replaced."""
    config = OmegaConf.load(CONF / "base" / "parameters" / "models" / f"{name}.yml")[name]
    config.seed = 0
    return Recipe.model_validate({**OmegaConf.to_container(config), **changes})


def input_of(name: str, side_px: int) -> InputSize:
    """Return the input of a model's recipe, with another side and without reduction."""
    return base_recipe(name).input.model_copy(update={"crop_px": side_px, "resize_px": None})


def one_device() -> Any:
    """Stand-in for ``lightning_fabric.Fabric`` on one CPU."""
    return SimpleNamespace(
        device=torch.device("cpu"), global_rank=0, world_size=1, autocast=nullcontext
    )


def job_of(recipe: Recipe, side_px: int) -> Any:
    """Stand-in for a ``TrainingJob`` without slices."""
    return SimpleNamespace(
        recipe=recipe,
        settings=TrainingSettings(),
        fold=0,
        resume=Path(),
        hu_lut=torch.linspace(-1, 1, 1401),
        slices=SimpleNamespace(side_px=side_px),
    )
