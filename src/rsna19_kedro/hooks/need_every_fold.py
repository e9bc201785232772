"""Check that the second level and the report run on all folds."""

from typing import Any

from kedro.framework.hooks import hook_impl

from rsna19_kedro.context import current_scope
from rsna19_kedro.contracts import FOLDS
from rsna19_kedro.errors import ParameterError


class NeedEveryFold:
    """Refuse the second level and the report in a run of some folds only."""

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Check the requested pipelines against the folds of the session.

        Raises:
            ParameterError: ``stacking`` or ``reporting`` is requested without all folds.
        """
        scope = current_scope()
        for name in run_params.get("pipeline_names") or ():
            if name in ("stacking", "reporting") and not scope.complete:
                raise ParameterError(
                    f"The pipeline {name!r} needs all folds ({', '.join(map(str, FOLDS))}), but "
                    f"this run has only {', '.join(map(str, scope.folds))}. Run it without "
                    "'fold' in --params; --only-missing-outputs keeps the finished folds."
                )
