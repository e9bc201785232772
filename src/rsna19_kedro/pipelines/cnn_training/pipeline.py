"""Wiring of the training: one node a model and fold."""

from kedro.pipeline import Node, Pipeline

from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.runners.gpu_runner import ANCESTOR_TAG
from rsna19_kedro.scope import Scope

from .nodes import train_fold


def create_pipeline(scope: Scope) -> Pipeline:
    """Train the models and folds of the scope, ancestors included."""
    models = [name for name in ZOO if name in scope.models + scope.ancestors]
    return sum(
        (_train(model, fold, scope) for model in models for fold in scope.folds), Pipeline([])
    )


def _train(model: str, fold: int, scope: Scope) -> Pipeline:
    tags = {"gpu", f"fold_{fold}"} | ({ANCESTOR_TAG} if model in scope.ancestors else set())
    node = Node(
        train_fold,
        inputs={
            "labels": "labels_table",
            "volumes": "volumes",
            "volume_index": "volume_index",
            "hu_lut": "hu_lut",
            "resume": "resume",
            "recipe": "params:recipe",
            "fold": "params:fold_number",
        },
        outputs=["checkpoint", "history"],
        name="train",
        tags=tags,
    )
    return Pipeline(
        [node],
        namespace=f"{model}.fold_{fold}",
        inputs={
            "labels_table": ZOO[model].labels,
            "volumes": "volumes",
            "volume_index": "volume_index",
            "hu_lut": "hu_lut",
        },
        parameters={
            "params:recipe": f"params:{model}",
            "params:fold_number": f"params:fold_numbers.fold_{fold}",
        },
    )
