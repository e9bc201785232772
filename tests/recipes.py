"""The recipes of the configuration, as the nodes get them."""

from pathlib import Path

from omegaconf import OmegaConf

from rsna19_kedro.training.recipe import Recipe

CONF = Path(__file__).resolve().parents[1] / "conf"


def base_recipe(name: str, **changes: object) -> Recipe:
    """A model's recipe in the base environment, with some keys replaced."""
    config = OmegaConf.load(CONF / "base" / "parameters" / "models" / f"{name}.yml")[name]
    config.seed = 0
    return Recipe.model_validate({**OmegaConf.to_container(config), **changes})
