"""The order of the nodes: ancestors first, the longest path first, failures contained."""

from collections.abc import Callable, Iterable, Mapping
from graphlib import TopologicalSorter

from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node


class Schedule:
    """State of a run: which nodes wait, can start, run, are done, failed or cannot run.

    Args:
        pipeline: The nodes.
        costs: Duration of each node by name, in any unit.
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
        # Cost of each node plus that of its most costly downstream path.
        self.priorities: dict[str, float] = {}
        for name in reversed(self.nodes):  # Kedro sorts them: ancestors first.
            downstream = (self.priorities[child] for child in self._children[name])
            self.priorities[name] = self.costs[name] + max(downstream, default=0.0)

    @property
    def ready(self) -> tuple[str, ...]:
        """Nodes that can start, the longest path first."""
        return tuple(sorted(self._ready, key=lambda name: -self.priorities[name]))

    @property
    def waiting(self) -> int:
        """Number of nodes that will run and have not started."""
        return len(self.not_done) - len(self.failed) - len(self.not_run) - len(self.running)

    @property
    def not_done(self) -> tuple[str, ...]:
        """All nodes that still have to run, including failed and skipped ones, ancestors first."""
        ended = {*self.done, *self.unchanged}
        return tuple(name for name in self.nodes if name not in ended)

    @property
    def active(self) -> bool:
        """Whether anything runs or can start."""
        return bool(self._ready or self.running)

    def start(self, name: str) -> None:
        """Note that a ready node has started."""
        self._ready.remove(name)
        self.running.append(name)

    def again(self, name: str) -> None:
        """Put a running node back: it will be started again."""
        self.running.remove(name)
        self._ready.append(name)

    def finish(self, name: str) -> None:
        """Note that a running node is done; nodes that waited only for it become ready."""
        self.running.remove(name)
        self.done.append(name)
        self._sorter.done(name)
        self._ready.extend(self._sorter.get_ready())

    def skip(self, name: str) -> None:
        """Note that a ready node need not run; nodes that waited only for it become ready."""
        self._ready.remove(name)
        self.unchanged.append(name)
        self._sorter.done(name)
        self._ready.extend(self._sorter.get_ready())

    def fail(self, name: str, error: str) -> None:
        """Note that a node failed: its downstream nodes are skipped, all others continue."""
        self.running.remove(name)
        self.failed[name] = error
        downstream = list(self._children[name])
        while downstream:
            child = downstream.pop()
            if child not in self.not_run:
                self.not_run[child] = name
                downstream.extend(self._children[child])

    def startable(self, fits: Callable[[str], bool], kind: Callable[[str], str]) -> Iterable[str]:
        """Ready nodes to start now, in their order.

        Args:
            fits: Whether a slot is free for a node; called again after each start.
            kind: Kind of slot that a node needs. A node that does not fit blocks the later ones
                of its kind, so that smaller nodes do not delay a large one forever.
        """
        blocked: set[str] = set()
        for name in self.ready:
            if kind(name) in blocked:
                continue
            if fits(name):
                yield name
            else:
                blocked.add(kind(name))
