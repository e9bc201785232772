"""Wiring of the training: one node per model and fold."""

from kedro.pipeline import Node, Pipeline

from rsna19_kedro.context import current_scope
from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.scope import ANCESTOR_TAG, Scope

from .nodes import train_fold


def create_pipeline(scope: Scope | None = None, **kwargs: object) -> Pipeline:
    """Train the models and folds of the scope, ancestors included."""
    scope = scope or current_scope()
    models = [name for name in ZOO if name in scope.models + scope.ancestors]
    return sum(
        (_train(model, fold, scope) for model in models for fold in scope.folds), Pipeline([])
    )


def _train(model: str, fold: int, scope: Scope) -> Pipeline:
    spec = ZOO[model]
    data = {
        "labels": spec.labels,
        "validation_labels": spec.validation_labels or spec.labels,
        **{name: name for name in ("volumes", "volume_index", "hu_lut", "download_facts")},
    }
    if spec.starts_from is not None:
        data["parent"] = f"{spec.starts_from}.fold_{fold}.checkpoint"
    if spec.decoder:
        data["masks"] = "masks"
    shared = {
        "recipe": f"params:{model}",
        "training": "params:training",
        "fold": f"params:fold_numbers.fold_{fold}",
    }
    node = Node(
        train_fold,
        inputs=data | shared | {"folder": "params:training_folder"},
        outputs=[
            "history",
            "checkpoint",
        ],  # In this order: the checkpoint marks the training as finished.
        name="train",
        tags={"gpu", "training", f"fold_{fold}"}
        | ({ANCESTOR_TAG} if model in scope.ancestors else set()),
    )
    return Pipeline(
        [node],
        namespace=f"{model}.fold_{fold}",
        inputs=set(data.values()),
        parameters=set(shared.values()),
    )
