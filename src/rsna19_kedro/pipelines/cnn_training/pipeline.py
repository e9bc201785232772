"""Wiring of the training: one node a model and fold."""

from kedro.pipeline import Node, Pipeline

from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.scope import ANCESTOR_TAG, Scope

from .nodes import train_fold


def create_pipeline(scope: Scope) -> Pipeline:
    """Train the models and folds of the scope, ancestors included."""
    models = [name for name in ZOO if name in scope.models + scope.ancestors]
    return sum(
        (_train(model, fold, scope) for model in models for fold in scope.folds), Pipeline([])
    )


def _train(model: str, fold: int, scope: Scope) -> Pipeline:
    spec = ZOO[model]
    tags = {"gpu", "training", f"fold_{fold}", *([ANCESTOR_TAG] * (model in scope.ancestors))}
    # What comes from outside of the model's namespace, by the node's names for it.
    outside = {
        "labels": spec.labels,
        "validation_labels": spec.validation_labels or spec.labels,
        **{name: name for name in ("volumes", "volume_index", "hu_lut")},
    }
    if spec.starts_from is not None:
        outside["parent"] = f"{spec.starts_from}.fold_{fold}.checkpoint"
    if spec.decoder:
        outside["masks"] = "masks"
    node = Node(
        train_fold,
        inputs={
            **{name: name for name in (*outside, "resume", "tensorboard")},
            "recipe": "params:recipe",
            "training": "params:training",
            "fold": "params:fold_number",
        },
        outputs=["history", "checkpoint"],  # In this order: the checkpoint ends the training.
        name="train",
        tags=tags,
    )
    return Pipeline(
        [node],
        namespace=f"{model}.fold_{fold}",
        inputs=outside,
        parameters={
            "params:recipe": f"params:{model}",
            "params:training": "params:training",
            "params:fold_number": f"params:fold_numbers.fold_{fold}",
        },
    )
