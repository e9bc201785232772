"""Messages about unknown names in the options of ``kedro run``."""

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Final

from kedro.framework.project import pipelines, settings
from kedro.pipeline import Pipeline
from kedro.utils import find_kedro_project

from rsna19_kedro.errors import did_you_mean

_DEFAULT: Final = "__default__"
_LISTED: Final = 20
"""Longest list of known names that a message shows."""


def _namespaces(pipeline: Pipeline) -> set[str]:
    parts = [node.namespace.split(".") for node in pipeline.nodes if node.namespace]
    return {".".join(part[:length]) for part in parts for length in range(1, len(part) + 1)}


_NAMES: Final[dict[str, Callable[[Pipeline], set[str]]]] = {
    "node": lambda pipeline: {node.name for node in pipeline.nodes},
    "tag": lambda pipeline: {tag for node in pipeline.nodes for tag in node.tags},
    "namespace": _namespaces,
    "dataset": lambda pipeline: pipeline.datasets(),
}
_OPTIONS: Final = {
    **{"node_names": "node", "from_nodes": "node", "to_nodes": "node"},
    **{"tags": "tag", "namespaces": "namespace"},
    **{"from_inputs": "dataset", "to_outputs": "dataset", "load_versions": "dataset"},
}
"""Kind of the names of each option."""


def unknown_environment(options: Mapping[str, Any]) -> str:
    """Describe an environment that does not exist; empty if it exists."""
    project = find_kedro_project(Path.cwd()) or Path.cwd()
    folder = Path(options.get("conf_source") or project / settings.CONF_SOURCE)
    env = options.get("env") or os.getenv("KEDRO_ENV")
    if not env or not folder.is_dir() or (folder / env).is_dir():
        return ""
    return describe_unknown(
        "environment", env, sorted(path.name for path in folder.iterdir() if path.is_dir())
    )


def unknown_name(options: Mapping[str, Any]) -> str:
    """Describe the names in the options of a run that select no node.

    Args:
        options: Options of ``kedro run``, by the names of its arguments.
    """
    pipelines.set_requested(None)  # Otherwise Kedro's registry may hold the requested ones only.
    wanted = options.get("pipelines") or [options.get("pipeline") or _DEFAULT]
    for name in wanted:
        if name not in pipelines:
            return describe_unknown("pipeline", name, sorted(set(pipelines) - {_DEFAULT}))
    every = sum(pipelines.values(), Pipeline([]))
    requested = sum((pipelines[name] for name in wanted), Pipeline([]))
    given = {option: list(options[option]) for option in _OPTIONS if options.get(option)}
    for option, names in given.items():
        kind = _OPTIONS[option]
        known = _NAMES[kind](every if option == "load_versions" else requested)
        for name in names:
            if name in known:
                continue
            others = [other for other, nodes in pipelines.items() if name in _NAMES[kind](nodes)]
            if others:
                return (
                    f"The {kind} {name!r} is not in the pipeline {', '.join(wanted)}. Add "
                    f"--pipelines {next(other for other in others if other != _DEFAULT)}."
                )
            return describe_unknown(kind, name, sorted(known))
    words = " ".join(
        f"--{option.removesuffix('_names').replace('_', '-')}{'s' * (option == 'node_names')} "
        + ",".join(names)
        for option, names in given.items()
    )
    return f"No node is selected by all of these options: {words}. Leave out one of them."


def describe_unknown(kind: str, name: str, known: Collection[str]) -> str:
    """Say that a name is unknown, and which known names, in their order, are meant or possible."""
    hint = did_you_mean(name, known)
    if kind == "namespace":
        known = [other for other in known if "." not in other]
    if len(known) <= _LISTED:
        return f"Unknown {kind} {name!r}.{hint} The {kind}s are: {', '.join(known)}."
    command = "registry describe" if kind == "node" else "catalog describe-datasets"
    return f"Unknown {kind} {name!r}." + (hint or f" To list the {kind}s: kedro {command}")
