"""Wiring of prediction: two nodes per model and fold."""

from kedro.pipeline import Node, Pipeline

from rsna19_kedro.context import current_scope
from rsna19_kedro.scope import Scope

from .nodes import predict_oof, predict_test


def create_pipeline(scope: Scope | None = None, **kwargs: object) -> Pipeline:
    """Predict with the models and folds of the scope."""
    scope = scope or current_scope()
    return sum(
        (_predict(model, fold) for model in scope.models for fold in scope.folds), Pipeline([])
    )


def _predict(model: str, fold: int) -> Pipeline:
    shared = {
        "recipe": f"params:{model}",
        "prediction": "params:prediction",
        "fold": f"params:fold_numbers.fold_{fold}",
    }
    inputs = {
        "checkpoint": "checkpoint",
        "volumes": "volumes",
        "volume_index": "volume_index",
        "folder": "params:prediction_folder",
        **shared,
    }
    tags = {"gpu", "prediction", f"fold_{fold}"}
    return Pipeline(
        [
            Node(
                predict_oof,
                inputs=inputs | {"folds": "folds"},
                outputs="oof",
                name="predict_oof",
                tags=tags,
            ),
            Node(
                predict_test,
                inputs=inputs | {"test_slices": "test_slices"},
                outputs="test",
                name="predict_test",
                tags=tags,
            ),
        ],
        namespace=f"{model}.fold_{fold}",
        inputs={"volumes", "volume_index", "folds", "test_slices"},
        parameters=set(shared.values()),
    )
