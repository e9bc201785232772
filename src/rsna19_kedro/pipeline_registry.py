"""Registry of all pipelines by name."""

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
        Pipelines by name. ``__default__`` leads from raw DICOM to the submissions and the
        report. With a subset of the folds it ends with their prediction tables, because the
        second level and the report need every fold.
    """
    with warnings.catch_warnings():
        # The second level and the report read tables from the namespaces of the models, so the
        # names of their inputs contain dots.
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
        # hooks/need_every_fold.py raises an error if one of these is requested by name.
        and (name not in ("stacking", "reporting") or scope.complete)
    ]
    return {
        **named,
        "new_study": new_study.create_pipeline(scope),
        "__default__": sum(default, Pipeline([])),
    }
