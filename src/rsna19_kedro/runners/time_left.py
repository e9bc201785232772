"""Estimate of the remaining time of a run, from recorded and measured durations."""

from collections import defaultdict
from collections.abc import Mapping
from statistics import mean
from typing import Final, Self

from kedro.io import CatalogProtocol

from rsna19_kedro.provenance.plan import group_of
from rsna19_kedro.runners.needs import needs_of
from rsna19_kedro.runners.work import Work
from rsna19_kedro.runners.worker import NodeRun

_ENOUGH: Final = 3


class TimeLeft:
    """Durations of the nodes of a run: measured, recorded earlier, or estimated.

    A node without a known duration takes the mean of its group (the same step of the same model
    in other folds), or else a time in proportion to its cost among at least three known nodes of
    its kind.

    Args:
        needs: Kind and cost of every node.
        recorded: Durations in earlier runs, in seconds.
    """

    slots = 1
    """Number of nodes that run in parallel."""

    def __init__(self, needs: Mapping[str, NodeRun], recorded: Mapping[str, float]) -> None:
        self._needs = needs
        self._known = {name: recorded[name] for name in needs if recorded.get(name)}
        self._groups = {name: group_of(name) for name in needs}

    @classmethod
    def of(cls, work: Work, catalog: CatalogProtocol) -> Self:
        """Make the estimate for a run."""
        return cls(needs_of(work.pipeline.nodes, catalog, gpus=False), work.recorded)

    def measured(self, node: str, seconds: float) -> None:
        """Note the duration of a node in this run."""
        if node in self._needs:
            self._known[node] = seconds

    def seconds(self, left: Mapping[str, float]) -> float | None:
        """Remaining time of the run; ``None`` as long as nothing of a kind of work is known.

        Args:
            left: Nodes that are not done, with the seconds since their start; 0 for nodes that
                have not started.
        """
        of_group, of_kind = self._means()
        total = 0.0
        for name, elapsed in left.items():
            expected, need = self._known.get(name), self._needs.get(name)
            if expected is None and need is not None:
                expected = of_group.get(self._groups[name])
            if expected is None and need is not None and need.kind in of_kind:
                expected = of_kind[need.kind] * need.cost
            if expected is None:
                return None
            total += max(0.0, expected - elapsed)
        return total / self.slots

    def _means(self) -> tuple[dict[str, float], dict[str, float]]:
        """Mean duration by group, and seconds per unit of cost by kind."""
        groups, kinds = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
        for name in self._known:
            groups[self._groups[name]].append(name)
            kinds[self._needs[name].kind].append(name)
        known, needs = self._known, self._needs
        return (
            {group: mean(known[name] for name in names) for group, names in groups.items()},
            {
                kind: sum(known[name] for name in names) / sum(needs[name].cost for name in names)
                for kind, names in kinds.items()
                if len(names) >= _ENOUGH
            },
        )
