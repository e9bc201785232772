"""What a run narrowed to some folds cannot make."""

from typing import Any

from kedro.framework.hooks import hook_impl

from rsna19_kedro.context import current_scope
from rsna19_kedro.contracts import FOLDS
from rsna19_kedro.errors import ParameterError


class NeedEveryFold:
    """Refuse the second level and the report in a run narrowed to some folds."""

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Check the names that were asked for against the scope.

        Raises:
            ParameterError: ``stacking`` or ``reporting`` was asked for with fewer than all folds.
        """
        scope = current_scope()
        for name in run_params.get("pipeline_names") or ():
            if name in ("stacking", "reporting") and not scope.complete:
                raise ParameterError(
                    f"The pipeline {name!r} needs all folds ({', '.join(map(str, FOLDS))}), but "
                    f"this run is narrowed to {', '.join(map(str, scope.folds))}. Run it without "
                    "'fold' in --params; --only-missing-outputs keeps the folds that are finished."
                )
