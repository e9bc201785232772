"""Files that the nodes read in addition to their inputs, for provenance records."""

from pathlib import Path

from rsna19_kedro.networks.zoo import SMALL_CHECKPOINT, SYNTHETIC, ZOO
from rsna19_kedro.provenance.declare import Files
from rsna19_kedro.training.recipe import Recipe


def initial_weight_files(recipe: Recipe) -> Files:
    """Return the local file of initial weights, if the recipe names one."""
    given = recipe.initial_weights
    if given is None or given == "imagenet" or given in ZOO:
        return {}
    path = SMALL_CHECKPOINT if given == SYNTHETIC else Path(given).expanduser()
    return {path.name: path}
