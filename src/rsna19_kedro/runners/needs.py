"""Devices that each node needs, and an estimate of its duration."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from typing import Annotated

from kedro.io import CatalogProtocol
from kedro.pipeline.node import Node
from pydantic import Field, PositiveInt, ValidationError

from rsna19_kedro.runners.worker import NodeRun
from rsna19_kedro.strict import Strict, parameter_error

PARAMETERS = "params:runner"


class RunnerParameters(Strict):
    """Parameters ``runner``.

    Attributes:
        gpus_per_node: GPUs per node, by patterns of node names; the first match applies. A
            number below 1 is a share of a GPU; numbers above 1 must be integers.
    """

    gpus_per_node: dict[str, PositiveInt | Annotated[float, Field(gt=0, le=1)]] = Field({})


def needs_of(nodes: Iterable[Node], catalog: CatalogProtocol, gpus: bool) -> dict[str, NodeRun]:
    """Needs of every node, by its name.

    The runner does not know what a node does. A parameter of a node may have an attribute
    ``relative_costs``, which gives the cost of the node by its tag (``training``,
    ``prediction``), and an attribute ``devices``, the number of GPUs that the node uses.

    Args:
        nodes: The nodes of a run.
        catalog: Holds the parameters.
        gpus: Whether there is a GPU; otherwise all nodes take CPU slots.

    Raises:
        ParameterError: The parameters ``runner`` are invalid.
    """
    given = catalog.load(PARAMETERS) if PARAMETERS in catalog else {}
    try:
        patterns = RunnerParameters.model_validate(given).gpus_per_node
    except ValidationError as error:
        raise parameter_error("runner", error) from error
    return {node.name: _needs(node, catalog, patterns, gpus) for node in nodes}


def _needs(
    node: Node, catalog: CatalogProtocol, patterns: Mapping[str, float], has_gpus: bool
) -> NodeRun:
    costs, gpus = {"other": 1.0}, 1.0
    for name in node.inputs:
        value = catalog.load(name) if name.startswith("params:") else None
        costs |= getattr(value, "relative_costs", {})
        gpus = float(getattr(value, "devices", gpus))
    kind = next((tag for tag in costs if tag in node.tags), "other")
    gpus = next((share for pattern, share in patterns.items() if fnmatch(node.name, pattern)), gpus)
    gpus = gpus if has_gpus and "gpu" in node.tags else 0.0
    return NodeRun(node.name, kind, gpus, costs[kind])
