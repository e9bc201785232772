"""Check the stored results that a run uses but does not make."""

import logging
from typing import Any, Final

from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from rsna19_kedro.commands import kedro_run
from rsna19_kedro.errors import ParameterError
from rsna19_kedro.hooks.run_facts import is_new_study
from rsna19_kedro.provenance.plan import Plan, State
from rsna19_kedro.runners.reuse import Reuse

logger = logging.getLogger(__name__)

_OF_KEDRO: Final = ("SequentialRunner", "ThreadRunner", "ParallelRunner", "None")
_IN_PARALLEL: Final = ("ThreadRunner", "ParallelRunner")


class TruthfulReuse:
    """Refuse runners that do not check results, and warn about inputs that are out of date."""

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: CatalogProtocol
    ) -> None:
        """Compare results of earlier runs that this run uses with its parameters.

        Raises:
            ParameterError: A parallel runner of Kedro, or ``--only-missing-outputs`` with a
                runner of Kedro.
        """
        runner = str(run_params.get("runner", ""))  # A representation of the object.
        for name in _IN_PARALLEL:
            if name in runner:
                raise ParameterError(
                    f"{name} does not assign GPUs and memory, so trainings would share one "
                    "device. To run nodes in parallel, leave out --runner and add --runner-params "
                    "cpus=4 (docs/cluster.md)."
                )
        if run_params["only_missing_outputs"] and any(name in runner for name in _OF_KEDRO):
            raise ParameterError(
                "--only-missing-outputs needs the runner of this project: Kedro's runners check "
                "only whether a file exists, not whether it is up to date. Leave out --runner; in "
                "Python, pass rsna19_kedro.runners.GPURunner()."
            )
        if is_new_study(run_params):
            return
        earlier = _makers_of_inputs(pipeline)
        plan = Reuse(catalog, with_files=False).plan(earlier)
        stale = Plan(plan.of(State.OUT_OF_DATE))
        if stale.nodes:
            logger.warning(
                "This run uses results that are out of date:\n  %s\nTo update them, run:\n  %s",
                *("\n  ".join(stale.lines()), kedro_run("--only-missing-outputs")),
                extra={"markup": False},
            )


def _makers_of_inputs(pipeline: Pipeline) -> Pipeline:
    """Nodes outside the run that make its inputs."""
    whole, names = pipelines["__default__"], {node.name for node in pipeline.nodes}
    inputs = [name for name in pipeline.inputs() if name in whole.all_outputs()]
    if not inputs:
        return Pipeline([])
    makers = [node.name for node in whole.to_outputs(*inputs).nodes if node.name not in names]
    return whole.filter(node_names=makers) if makers else Pipeline([])
