"""Wiring of prediction: two nodes a model and fold."""

from kedro.pipeline import Node, Pipeline

from rsna19_kedro.scope import Scope

from .nodes import predict_oof, predict_test


def create_pipeline(scope: Scope) -> Pipeline:
    """Predict with the models and folds of the scope."""
    return sum(
        (_predict(model, fold) for model in scope.models for fold in scope.folds), Pipeline([])
    )


def _predict(model: str, fold: int) -> Pipeline:
    common = {
        "checkpoint": "checkpoint",
        "volumes": "volumes",
        "recipe": "params:recipe",
        "prediction": "params:prediction",
        "fold": "params:fold_number",
    }
    tags = {"gpu", "prediction", f"fold_{fold}"}
    return Pipeline(
        [
            Node(
                predict_oof,
                inputs={**common, "folds": "folds", "parts": "oof_parts"},
                outputs="oof",
                name="predict_oof",
                tags=tags,
            ),
            Node(
                predict_test,
                inputs={**common, "test_slices": "test_slices", "parts": "test_parts"},
                outputs="test",
                name="predict_test",
                tags=tags,
            ),
        ],
        namespace=f"{model}.fold_{fold}",
        inputs={name: name for name in ("volumes", "folds", "test_slices")},
        parameters={
            "params:recipe": f"params:{model}",
            "params:prediction": "params:prediction",
            "params:fold_number": f"params:fold_numbers.fold_{fold}",
        },
    )
