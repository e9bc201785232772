"""kedro-viz draws layers only when no layer leads back to an earlier one."""

import os
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

pytestmark = pytest.mark.end_to_end


def test_layers_have_an_order_and_every_dataset_has_one(
    empty_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(empty_project)
    bootstrap_project(empty_project)
    with KedroSession.create(project_path=Path(os.getcwd()), env="test") as session:
        context = session.load_context()
        catalog = context.catalog
        from kedro.framework.project import pipelines

        pipeline = pipelines["__default__"] + pipelines["new_study"]

    def layer(name: str) -> str:
        metadata = getattr(catalog.get(name), "metadata", None)
        assert metadata is not None, f"{name} has no entry in the catalog"
        return str(metadata["kedro-viz"]["layer"])

    order: dict[str, set[str]] = {}
    for node in pipeline.nodes:
        data = [name for name in node.inputs if not name.startswith("param")]
        for output in node.outputs:
            before = {layer(name) for name in data} - {layer(output)}
            order.setdefault(layer(output), set()).update(before)
    drawn = list(TopologicalSorter(order).static_order())
    assert drawn == ["raw", "intermediate", "primary", "models", "model_output", "reporting"]
