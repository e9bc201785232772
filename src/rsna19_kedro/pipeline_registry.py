"""Every pipeline by its name. They are listed one by one, so that a name always means all of it."""

import warnings

from kedro.pipeline import Pipeline

from rsna19_kedro.context import current_scope
from rsna19_kedro.pipelines import (
    cnn_training,
    folds,
    inference,
    ingestion,
    new_study,
    phantoms,
    reporting,
    stacking,
    volume_prep,
)
from rsna19_kedro.scope import Scope


def register_pipelines() -> dict[str, Pipeline]:
    """Build the pipelines of the current scope.

    Returns:
        Pipelines by name. ``__default__`` is the way from raw DICOM to the submissions and
        the report; in a run narrowed to some folds it ends with their prediction tables,
        because the second level and the report need every fold.
    """
    with warnings.catch_warnings():
        # The second level and the report take tables out of the models' namespaces: that is
        # what the dots in their inputs' names say.
        warnings.filterwarnings("ignore", message="One or more dataset names contain '.'")
        return _pipelines(current_scope())


def _pipelines(scope: Scope) -> dict[str, Pipeline]:
    named = {
        "phantoms": phantoms.create_pipeline(scope),
        "ingestion": ingestion.create_pipeline(scope),
        "volume_prep": volume_prep.create_pipeline(scope),
        "folds": folds.create_pipeline(scope),
        "cnn_training": cnn_training.create_pipeline(scope),
        "inference": inference.create_pipeline(scope),
        "stacking": stacking.create_pipeline(scope),
        "reporting": reporting.create_pipeline(scope),
    }
    default = [
        pipeline
        for name, pipeline in named.items()
        if (name != "phantoms" or scope.phantoms)
        # hooks/need_every_fold.py says what is wrong when one of these is asked for by name.
        and (name not in ("stacking", "reporting") or scope.complete)
    ]
    return {
        **named,
        "new_study": new_study.create_pipeline(scope),
        "__default__": sum(default, Pipeline([])),
    }
