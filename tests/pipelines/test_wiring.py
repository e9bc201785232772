"""How pipelines are put together: Kedro's conventions, names, and what kedro-viz groups."""

from importlib import import_module

import pytest
from kedro.pipeline import Pipeline

from rsna19_kedro.pipelines.grouped_node import GroupedNode
from rsna19_kedro.scope import Scope

PIPELINES = [
    *("phantoms", "ingestion", "volume_prep", "folds", "cnn_training"),
    *("inference", "stacking", "reporting", "new_study"),
]


@pytest.mark.parametrize("name", PIPELINES)
def test_pipelines_are_created_as_kedro_expects(name: str) -> None:
    pipeline = import_module(f"rsna19_kedro.pipelines.{name}").create_pipeline()
    assert isinstance(pipeline, Pipeline)
    assert pipeline.nodes


@pytest.mark.parametrize("name", ["phantoms", "ingestion", "volume_prep", "folds"])
def test_preparation_is_one_group_with_short_names(name: str) -> None:
    scope = Scope(models=("resnet18_400",), folds=(0,))
    pipeline = import_module(f"rsna19_kedro.pipelines.{name}").create_pipeline(scope)
    assert {node.namespace for node in pipeline.nodes} == {name}
    assert not [node.name for node in pipeline.nodes if "." in node.name]
    assert not [dataset for dataset in pipeline.datasets() if "." in dataset]


def test_grouped_node_keeps_its_name_when_it_is_copied() -> None:
    node = GroupedNode(len, "slices", "count", name="count_slices", namespace="box")
    copied = node.tag("gpu")
    assert copied.name == "count_slices"
    assert copied.namespace == "box"
    assert copied.tags == {"gpu"}
    assert Pipeline([copied], tags="cpu").only_nodes("count_slices").nodes[0].tags == {"gpu", "cpu"}


def test_only_datasets_that_others_read_leave_the_namespace_of_a_model() -> None:
    """Else kedro-viz draws them outside of the model's box."""
    scope = Scope(models=("resnet18_400",), folds=(3,))
    training, inference = (
        import_module(f"rsna19_kedro.pipelines.{name}").create_pipeline(scope)
        for name in ("cnn_training", "inference")
    )
    model = training + inference
    assert not [name for name in model.inputs() if name.startswith("resnet18_400.")]
    assert {name for name in model.outputs() if "." in name} == {
        f"resnet18_400.fold_3.{name}" for name in ("history", "oof", "test")
    }
