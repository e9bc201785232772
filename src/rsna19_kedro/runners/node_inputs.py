"""Inputs of Kedro nodes: their arguments, types and paths."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

from kedro.pipeline import Node
from pydantic import BaseModel, ValidationError

from rsna19_kedro.strict import parameter_error


def typed_parameter(node: Node, argument: str, value: Any) -> Any:
    """Convert a parameter to the type that the node's function receives.

    Kedro validates only the parameters of the pipelines that are run; others are plain values.

    Raises:
        ParameterError: The value is invalid.
    """
    if not isinstance(value, Mapping):
        return value
    kind = get_type_hints(node.func).get(argument)
    if not isinstance(kind, type) or not issubclass(kind, BaseModel):
        return value
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        name = arguments_of(node).get(argument, argument).removeprefix("params:")
        raise parameter_error(name, error) from error


def arguments_of(node: Node) -> dict[str, str]:
    """Names of a node's inputs by the name of the argument, without ``*args``."""
    # A private attribute of Kedro: the public list does not say which optional argument an
    # input belongs to.
    inputs = node._inputs
    if isinstance(inputs, dict):
        return dict(inputs)
    bound = inspect.signature(node.func).bind(*node.inputs)
    return {name: value for name, value in bound.arguments.items() if isinstance(value, str)}


def local_path(dataset: Any) -> Path | None:
    """Path of a dataset that is one file or folder on a local disk; otherwise ``None``."""
    # Datasets have no public attribute for it; Kedro's and this project's use the same names.
    path = getattr(dataset, "_filepath", None) or getattr(dataset, "_path", None)
    protocol = getattr(dataset, "_protocol", "file")
    if path is None or protocol != "file" or getattr(dataset, "_version", None) is not None:
        return None
    return Path(path)
