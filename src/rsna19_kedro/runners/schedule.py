"""The order of the nodes: ancestors first, the longest path first, failures contained."""

from collections.abc import Callable, Iterable, Mapping

from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node


class Schedule:
    """State of a run: which nodes wait, can start, run, are done, failed or cannot run.

    Args:
        pipeline: The nodes.
        costs: Length of each, by name, in any unit.
    """

    def __init__(self, pipeline: Pipeline, costs: Mapping[str, float]) -> None:
        self.nodes: dict[str, Node] = {node.name: node for node in pipeline.nodes}
        self.costs = dict(costs)
        self._parents = {
            node.name: {parent.name for parent in parents}
            for node, parents in pipeline.node_dependencies.items()
        }
        self._children: dict[str, list[str]] = {name: [] for name in self.nodes}
        for name, parents in self._parents.items():
            for parent in parents:
                self._children[parent].append(name)
        self.priorities = self._longest_paths()
        self._open = {name: len(parents) for name, parents in self._parents.items()}
        self._ready = [name for name in self.nodes if not self._open[name]]
        self._sort()
        self.running: list[str] = []
        self.done: list[str] = []
        self.failed: dict[str, str] = {}
        self.not_run: dict[str, str] = {}

    def _longest_paths(self) -> dict[str, float]:
        """Cost of each node and of the most costly chain of descendants behind it."""
        longest: dict[str, float] = {}
        for name in reversed(self.nodes):  # Kedro sorts them: ancestors stand first.
            behind = (longest[child] for child in self._children[name])
            longest[name] = self.costs[name] + max(behind, default=0.0)
        return longest

    def _sort(self) -> None:
        self._ready.sort(key=lambda name: -self.priorities[name])

    @property
    def ready(self) -> tuple[str, ...]:
        """What can start, the longest path first."""
        return tuple(self._ready)

    @property
    def waiting(self) -> int:
        """Number of nodes that are to run and do not yet."""
        ended = len(self.done) + len(self.failed) + len(self.not_run) + len(self.running)
        return len(self.nodes) - ended

    @property
    def not_done(self) -> tuple[str, ...]:
        """All nodes that are not done, for whatever reason, ancestors first."""
        done = set(self.done)
        return tuple(name for name in self.nodes if name not in done)

    @property
    def active(self) -> bool:
        """Whether anything runs or can start."""
        return bool(self._ready or self.running)

    def start(self, name: str) -> None:
        """A node that was ready runs."""
        self._ready.remove(name)
        self.running.append(name)

    def again(self, name: str) -> None:
        """A node that ran is to be started once more."""
        self.running.remove(name)
        self._ready.append(name)
        self._sort()

    def finish(self, name: str) -> None:
        """A node is done; what waited only for it is ready now."""
        self.running.remove(name)
        self.done.append(name)
        for child in self._children[name]:
            self._open[child] -= 1
            if not self._open[child] and child not in self.not_run:
                self._ready.append(child)
        self._sort()

    def fail(self, name: str, error: str) -> None:
        """A node failed: its descendants are not run, everything else goes on."""
        self.running.remove(name)
        self.failed[name] = error
        below = list(self._children[name])
        while below:
            child = below.pop()
            if child not in self.not_run:
                self.not_run[child] = name
                below.extend(self._children[child])

    def startable(self, fits: Callable[[str], bool], kind: Callable[[str], str]) -> Iterable[str]:
        """Ready nodes to start now, in their order.

        Args:
            fits: Whether there is room for a node at this moment; asked again after each start.
            kind: What kind of room it needs. A node that does not fit holds back the later ones
                of its kind, so that one that needs much room is not overtaken for ever.
        """
        held: set[str] = set()
        for name in self.ready:
            if kind(name) in held:
                continue
            if fits(name):
                yield name
            else:
                held.add(kind(name))
