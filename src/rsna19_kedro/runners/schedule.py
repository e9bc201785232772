"""The order of the nodes: ancestors first, the longest path first, failures contained."""

from collections.abc import Callable, Iterable, Mapping
from graphlib import TopologicalSorter

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
        self.running: list[str] = []
        self.done: list[str] = []
        self.unchanged: list[str] = []
        self.failed: dict[str, str] = {}
        self.not_run: dict[str, str] = {}
        self._children: dict[str, list[str]] = {name: [] for name in self.nodes}
        self._sorter: TopologicalSorter[str] = TopologicalSorter()
        for node, parents in pipeline.node_dependencies.items():
            self._sorter.add(node.name, *(parent.name for parent in parents))
            for parent in parents:
                self._children[parent.name].append(node.name)
        self._sorter.prepare()
        self._ready = list(self._sorter.get_ready())
        # Cost of each node and of the most costly chain of descendants behind it.
        self.priorities: dict[str, float] = {}
        for name in reversed(self.nodes):  # Kedro sorts them: ancestors stand first.
            behind = (self.priorities[child] for child in self._children[name])
            self.priorities[name] = self.costs[name] + max(behind, default=0.0)

    @property
    def ready(self) -> tuple[str, ...]:
        """What can start, the longest path first."""
        return tuple(sorted(self._ready, key=lambda name: -self.priorities[name]))

    @property
    def waiting(self) -> int:
        """Number of nodes that will run and have not started."""
        return len(self.not_done) - len(self.failed) - len(self.not_run) - len(self.running)

    @property
    def not_done(self) -> tuple[str, ...]:
        """All nodes that still have to run, for whatever reason, ancestors first."""
        ended = {*self.done, *self.unchanged}
        return tuple(name for name in self.nodes if name not in ended)

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

    def finish(self, name: str) -> None:
        """A node is done; what waited only for it is ready now."""
        self.running.remove(name)
        self.done.append(name)
        self._sorter.done(name)
        self._ready.extend(self._sorter.get_ready())

    def skip(self, name: str) -> None:
        """A ready node need not run; what waited only for it is ready now."""
        self._ready.remove(name)
        self.unchanged.append(name)
        self._sorter.done(name)
        self._ready.extend(self._sorter.get_ready())

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
            fits: Whether there is a free slot for a node now; asked again after each start.
            kind: Kind of slot that it needs. A node that does not fit holds back the later ones
                of its kind, so that smaller nodes do not delay a big one for ever.
        """
        held: set[str] = set()
        for name in self.ready:
            if kind(name) in held:
                continue
            if fits(name):
                yield name
            else:
                held.add(kind(name))
