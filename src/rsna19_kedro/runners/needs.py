"""What each node asks for, and a guess at how long it takes."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from kedro.io import CatalogProtocol
from kedro.pipeline.node import Node
from pydantic import Field, PositiveFloat, ValidationError, field_validator

from rsna19_kedro.errors import InputError
from rsna19_kedro.strict import Strict
from rsna19_kedro.training.recipe import Recipe, TrainingSettings

GPU_TAG = "gpu"
PARAMETERS = "params:runner"


class RunnerParameters(Strict):
    """Parameters ``runner``.

    Attributes:
        gpus_per_node: Cards a node, by patterns of node names; the first that fits counts. A
            number below 1 is a share of a card.
    """

    gpus_per_node: dict[str, PositiveFloat] = Field(default_factory=dict)

    @field_validator("gpus_per_node")
    @classmethod
    def _whole_above_one(cls, value: dict[str, float]) -> dict[str, float]:
        for pattern, gpus in value.items():
            if gpus > 1 and gpus != int(gpus):
                raise ValueError(f"{pattern}: {gpus} cards; above 1 only whole numbers are given")
        return value


@dataclass(frozen=True)
class Needs:
    """What a node asks for.

    Attributes:
        gpus: Cards or a share of one; 0 for a CPU slot.
        kind: ``training``, ``prediction`` or ``other``, for costs and colours.
        cost: Length in arbitrary units; only comparisons count.
    """

    gpus: float
    kind: str
    cost: float


def needs_of(nodes: Iterable[Node], catalog: CatalogProtocol, gpus: bool) -> dict[str, Needs]:
    """Needs of every node by its name.

    Args:
        nodes: The nodes of a run.
        catalog: Holds the parameters.
        gpus: Whether there is any card; without, all nodes take CPU slots.

    Raises:
        InputError: A bad ``runner`` in the parameters.
    """
    given = catalog.load(PARAMETERS) if PARAMETERS in catalog else {}
    try:
        parameters = RunnerParameters.model_validate(given)
    except ValidationError as error:
        raise InputError(f"Parameters 'runner' (conf/*/parameters/runner.yml): {error}") from error
    return {node.name: _needs(node, catalog, parameters if gpus else None) for node in nodes}


def _needs(node: Node, catalog: CatalogProtocol, parameters: RunnerParameters | None) -> Needs:
    values = [catalog.load(name) for name in node.inputs if name.startswith("params:")]
    recipe = next((value for value in values if isinstance(value, Recipe)), None)
    settings = next((value for value in values if isinstance(value, TrainingSettings)), None)
    gpus = 0.0
    if parameters is not None and GPU_TAG in node.tags:
        patterns = parameters.gpus_per_node.items()
        devices = float(settings.devices) if settings else 1.0
        gpus = next((share for pattern, share in patterns if fnmatch(node.name, pattern)), devices)
    if recipe is None:
        return Needs(gpus, "other", 1.0)
    pixels = (recipe.input.network_px / 400) ** 2
    if settings is None:
        return Needs(gpus, "prediction", 1 + pixels * len(recipe.variants))
    return Needs(gpus, "training", 1 + 30 * pixels * _epochs(recipe))


def _epochs(recipe: Recipe) -> float:
    """Passes over the training slices; 40,000 slices count as one where only steps are known."""
    total = 0.0
    for _, phase in recipe.phases.in_order():
        by_steps = phase.steps * phase.batch / 40_000 if phase.steps else float("inf")
        total += min(phase.epochs or float("inf"), by_steps)
    return total


def show_amount(value: Any) -> str:
    """A number of cards without needless zeros."""
    return f"{value:g}"
