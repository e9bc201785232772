"""Estimate of the remaining time of a run, from recorded and measured durations."""

from collections import defaultdict
from collections.abc import Mapping
from statistics import mean, median
from typing import Final, Self

from kedro.io import CatalogProtocol

from rsna19_kedro.provenance.plan import group_of
from rsna19_kedro.runners.needs import needs_of
from rsna19_kedro.runners.work import Work
from rsna19_kedro.runners.worker import NodeRun

_MIN_KNOWN_NODES: Final = 3


class TimeLeft:
    """Durations of the nodes of a run: measured, recorded earlier, or estimated.

    A node without a known duration takes the mean of its group (the same step of the same model
    in other folds), or else its cost times the median seconds per unit of cost of its kind, if at
    least three nodes of that kind have known durations. A few nodes take much longer than all
    others, so a mean would be far too high.

    Args:
        needs: Kind and cost of every node.
        recorded: Durations in earlier runs, in seconds.
        slots: Number of nodes that run in parallel, by the kind of slot.
    """

    def __init__(
        self,
        needs: Mapping[str, NodeRun],
        recorded: Mapping[str, float],
        slots: Mapping[str, int] | None = None,
    ) -> None:
        self._needs, self._slots = needs, slots or {"gpu": 1, "cpu": 1}
        self._durations = {name: recorded[name] for name in needs if recorded.get(name)}
        self._groups = {name: group_of(name) for name in needs}

    @classmethod
    def of(cls, work: Work, catalog: CatalogProtocol) -> Self:
        """Return the estimator of a run."""
        return cls(needs_of(work.pipeline.nodes, catalog, gpus=False), work.recorded)

    def measured(self, node: str, seconds: float) -> None:
        """Note the duration of a node in this run."""
        if node in self._needs:
            self._durations[node] = seconds

    def seconds(self, left: Mapping[str, float]) -> float | None:
        """Remaining time of the run; ``None`` if a node's duration cannot be estimated.

        Args:
            left: Nodes that are not done, with the seconds since their start; 0 for nodes that
                have not started.
        """
        of_group, of_kind = self._expected()
        totals = {"gpu": 0.0, "cpu": 0.0}
        for name, elapsed in left.items():
            expected, need = self._durations.get(name), self._needs.get(name)
            if expected is None and need is not None:
                expected = of_group.get(self._groups[name])
            if expected is None and need is not None and need.kind in of_kind:
                expected = of_kind[need.kind] * need.cost
            if expected is None:
                return None
            slot = self._needs[name].slot
            totals[slot] += max(0.0, expected - elapsed)
        return max(total / max(1, self._slots[slot]) for slot, total in totals.items())

    def _expected(self) -> tuple[dict[str, float], dict[str, float]]:
        """Mean duration by group, and median seconds per unit of cost by kind."""
        durations = dict(self._durations)  # The display reads it in a thread of its own.
        groups, kinds = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
        for name in durations:
            groups[self._groups[name]].append(name)
            kinds[self._needs[name].kind].append(name)
        needs = self._needs
        return (
            {group: mean(durations[name] for name in names) for group, names in groups.items()},
            {
                kind: median(durations[name] / needs[name].cost for name in names)
                for kind, names in kinds.items()
                if len(names) >= _MIN_KNOWN_NODES
            },
        )
