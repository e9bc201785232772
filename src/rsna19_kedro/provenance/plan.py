"""State of each node's results, and how it is shown; ``runners/reuse.py`` determines it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from rsna19_kedro.errors import counted

FOLD: Final = re.compile(r"^(?P<model>.+)\.fold_(?P<fold>\d+)\.(?P<step>.+)$")
"""Name of a node of one model and fold."""
_CHANGE: Final = re.compile(r"(?P<name>\S+) (?:(?P<new>is new): .*|.* -> .*)")
_CAUSES: Final = 3
_SHOWN: Final = 6
_LONGEST: Final = 100
"""Longest text of a change that is shown with its values."""


class State(StrEnum):
    """State of a node's results."""

    UP_TO_DATE = "up to date"
    UNKNOWN = "origin unknown"
    MISSING = "missing"
    OUT_OF_DATE = "out of date"
    FOLLOWS = "downstream"


@dataclass(frozen=True)
class NodePlan:
    """Plan for one node.

    Attributes:
        node: Its name.
        state: ``FOLLOWS``: its results are up to date, but one of their inputs is made again;
            the node runs only if that input then differs.
        causes: Why its results are out of date.
        seconds: Time that it took to make the results that would be replaced; 0 if unknown.
        accepted: Why its results were out of date when they were accepted by ``reuse=stored``.
        running: Owner of the run that is making its results now; empty if there is none.
    """

    node: str
    state: State
    causes: tuple[str, ...] = ()
    seconds: float = 0.0
    accepted: tuple[str, ...] = ()
    running: str = ""

    @property
    def runs(self) -> bool:
        """Whether the node may have to run."""
        return self.state in (State.MISSING, State.OUT_OF_DATE, State.FOLLOWS)


@dataclass(frozen=True)
class Plan:
    """The nodes of a run, in order.

    Attributes:
        nodes: Their plans.
        other_source: Says so if the stored results are of other raw data or another environment.
    """

    nodes: tuple[NodePlan, ...]
    other_source: str = ""

    @property
    def to_run(self) -> tuple[str, ...]:
        """Names of the nodes that may have to run."""
        return tuple(node.node for node in self.nodes if node.runs)

    @property
    def seconds(self) -> float:
        """Recorded time of all results that may be replaced."""
        return sum(node.seconds for node in self.nodes if node.runs)

    def of(self, *states: State) -> tuple[NodePlan, ...]:
        """The nodes in one of these states."""
        return tuple(node for node in self.nodes if node.state in states)

    def lines(self) -> list[str]:
        """Lines that list what is missing, what is out of date and why, and what is downstream."""
        lines = list(self._out_of_date())
        missing = self.of(State.MISSING)
        if missing:
            lines.append(f"{counted(len(missing), 'node')} with missing results{_names(missing)}")
        follows = self.of(State.FOLLOWS)
        if follows:
            lines.append(
                f"{counted(len(follows), 'node')} downstream, run only if an input changes"
                f"{_names(follows)}"
            )
        return lines

    def _out_of_date(self) -> Iterator[str]:
        groups: dict[tuple[str, tuple[str, ...]], list[NodePlan]] = {}
        for node in self.of(State.OUT_OF_DATE):
            causes = tuple(_short(cause, node) for cause in node.causes)
            groups.setdefault((group_of(node.node), causes), []).append(node)
        for (group, causes), nodes in groups.items():
            shown = "; ".join(causes[:_CAUSES])
            more = f"; and {len(causes) - _CAUSES} more" if len(causes) > _CAUSES else ""
            folds = f": {counted(len(nodes), 'fold')}" if FOLD.match(nodes[0].node) else ""
            yield f"{group}{folds} out of date: {shown}{more}"

    def as_json(self) -> list[dict[str, Any]]:
        """Return the plan as a JSON-serialisable list."""
        return [
            {
                "node": node.node,
                "state": node.state.value,
                "causes": list(node.causes),
                "seconds": round(node.seconds, 1),
                "running": node.running,
            }
            for node in self.nodes
        ]


def group_of(node: str) -> str:
    """Model and step of a node of a fold; otherwise the name of the node."""
    match = FOLD.match(node)
    return f"{match['model']}, {match['step']}" if match else node


def _short(cause: str, node: NodePlan) -> str:
    """Shorten a cause: without the names of the node's model and fold, and without long values."""
    if len(cause) > _LONGEST and (change := _CHANGE.match(cause)):
        cause = f"{change['name']} {'is new' if change['new'] else 'changed'}"
    match = FOLD.match(node.node)
    if match is None:
        return cause
    return re.sub(rf"^{re.escape(match['model'])}\.(fold_\d+\.)?", "", cause)


def _names(nodes: tuple[NodePlan, ...]) -> str:
    groups: dict[str, int] = {}
    for node in nodes:
        group = group_of(node.node)
        groups[group] = groups.get(group, 0) + 1
    texts = [group if count == 1 else f"{group} ({count} folds)" for group, count in groups.items()]
    grouped = " (folds grouped)" if len(texts) < len(nodes) else ""
    more = f"; and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return f"{grouped}: {'; '.join(texts[:_SHOWN])}{more}"
