"""The nodes that a run executes: those whose results are missing or out of date, or all."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kedro.io import CatalogProtocol
from kedro.pipeline import Node, Pipeline

from rsna19_kedro.errors import InputError, ParameterError, counted
from rsna19_kedro.progress import duration
from rsna19_kedro.provenance.declare import declaration_of
from rsna19_kedro.provenance.plan import Plan, State
from rsna19_kedro.runners.reuse import Reuse
from rsna19_kedro.scope import ANCESTOR_TAG

logger = logging.getLogger("rsna19_kedro.runs")

ASK_ABOVE_S: Final = 3600.0
"""A run that would repeat more recorded work than this needs ``remake=true``."""

_REUSE: Final = ("current", "stored")


@dataclass(frozen=True)
class Work:
    """The nodes of a run.

    Attributes:
        pipeline: The nodes that may run.
        reuse: The comparison with the stored results.
        follows: Names of the downstream nodes, which run only if their inputs have changed.
        since: Results made after this time (ISO 8601) come from a concurrent run and are not
            made again if they are up to date.
        wait: Whether to wait for results that another run is making.
        recorded: Seconds that it took to make the stored results, by node.
    """

    pipeline: Pipeline
    reuse: Reuse
    follows: Collection[str] = ()
    since: str = "9"
    wait: bool = True
    recorded: Mapping[str, float] = field(default_factory=dict)

    def is_unchanged(self, node: Node) -> bool:
        """Whether a node need not run after all.

        Its inputs are unchanged, or another run has made its results in the meantime.
        """
        if not node.outputs:
            return False
        if node.name not in self.follows and self.reuse.made(node) <= self.since:
            return False
        self.reuse.forget(node.inputs)
        recorded = declaration_of(node.func).recorded
        return recorded and self.reuse.state(node).state is State.UP_TO_DATE


def plan_work(
    pipeline: Pipeline, catalog: CatalogProtocol, *, only_outdated: bool, since: str = "9"
) -> Work:
    """Choose the nodes to run.

    Args:
        pipeline: The requested nodes.
        catalog: Their datasets, and the parameters ``reuse`` and ``remake``.
        only_outdated: Whether to leave out the nodes whose results are up to date.
        since: See ``Work``.

    Raises:
        InputError: More than an hour of recorded work would be repeated, and ``remake=true``
            was not given; the message shows the plan.
        ParameterError: ``reuse``, ``remake`` or ``wait`` has an impossible value.
    """
    accept = _choice(catalog) == "stored"
    remake, wait = _switch(catalog, "remake", False), _switch(catalog, "wait", True)
    reuse = Reuse(catalog, accept=accept, with_files=only_outdated)
    if accept:
        _log_accepted(reuse.accept_stored(pipeline))
    plan = reuse.plan(pipeline)
    if not accept and reuse.forget_accepted(pipeline, plan):
        plan = reuse.plan(pipeline)  # The report and the model card name accepted results.
    follows: set[str] = set()
    if only_outdated:
        names = list(plan.to_run)
        follows = {node.node for node in plan.of(State.FOLLOWS)}
        again = plan.seconds
    else:
        ancestors = {node.name for node in pipeline.nodes if ANCESTOR_TAG in node.tags}
        kept = ancestors - set(plan.to_run)
        for name in sorted(kept):
            logger.info("Reusing %s (needed only to initialise another model)", name)
        names = [node.name for node in pipeline.nodes if node.name not in kept]
        again = sum(node.seconds for node in plan.nodes if node.node not in kept)
    _log_plan(plan, only_outdated)
    if again > ASK_ABOVE_S and not remake:
        raise InputError(_too_much(plan, again, only_outdated))
    to_run = pipeline.filter(node_names=names) if names else Pipeline([])
    recorded = {node.node: node.seconds for node in plan.nodes}
    return Work(to_run, reuse, follows, since, wait, recorded)


def _log_plan(plan: Plan, only_outdated: bool) -> None:
    unknown = plan.of(State.UNKNOWN)
    if unknown:
        shown = ", ".join(node.node for node in unknown[:3])
        logger.warning(
            "The results of %s have no record of their origin (%s%s): used as they are",
            *(counted(len(unknown), "node"), shown, ", ..." if len(unknown) > 3 else ""),
        )
    if not only_outdated:
        return
    if not plan.to_run:
        logger.info("Nothing to do: the results of all %d nodes are up to date", len(plan.nodes))
        return
    for line in plan.lines():
        logger.info("%s", line)


def _too_much(plan: Plan, seconds: float, only_outdated: bool) -> str:
    lines = plan.lines() if only_outdated else []
    consequence = (
        "The run would replace results that took"
        if only_outdated
        else "The run would also repeat what is up to date, and replace results that took"
    )
    keep = "" if only_outdated else " Add --only-missing-outputs to keep what is up to date."
    return "\n".join(
        [
            *lines,
            f"Nothing was run. {consequence} {duration(seconds)}. Check the parameters; if this "
            f"is intended, add remake:true to --params.{keep}",
        ]
    )


def _log_accepted(plan: Plan) -> None:
    for line in Plan(plan.of(State.OUT_OF_DATE)).lines():
        logger.warning("Accepted by reuse:stored: %s", line)


def _choice(catalog: CatalogProtocol) -> str:
    given = str(_parameter(catalog, "reuse", _REUSE[0]))
    if given not in _REUSE:
        raise ParameterError(f"--params reuse:{given}: expected {' or '.join(_REUSE)}.")
    return given


def _switch(catalog: CatalogProtocol, name: str, default: bool) -> bool:
    given = _parameter(catalog, name, default)
    if not isinstance(given, bool):
        raise ParameterError(f"--params {name}:{given}: expected true or false.")
    return given


def _parameter(catalog: CatalogProtocol, name: str, default: Any) -> Any:
    dataset = f"params:{name}"
    return catalog.load(dataset) if dataset in catalog else default


def call_project_hook(hooks: Any, name: str, **arguments: Any) -> None:
    """Call a hook that Kedro does not define, if any plugin implements it."""
    caller = getattr(getattr(hooks, "hook", None), name, None)
    if caller is not None:
        caller(**arguments)
