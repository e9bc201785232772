"""kedro-viz draws layers only if they form no cycle."""

import json
import os
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

LAYERS = ["raw", "intermediate", "primary", "models", "model_output", "reporting"]

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]


def test_every_dataset_has_a_layer_and_layers_are_ordered(
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
    assert drawn == LAYERS


def test_kedro_viz_draws_the_layers_and_the_namespaces(empty_project: Path) -> None:
    """Check kedro-viz itself, which uses collapsed namespaces, not nodes."""
    built = subprocess.run(
        [sys.executable, "-m", "kedro", "viz", "build"],
        cwd=empty_project,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "KEDRO_ENV": "test"},
    )
    assert built.returncode == 0, built.stdout + built.stderr
    graph = json.loads((empty_project / "build" / "api" / "main").read_text())
    assert graph["layers"] == LAYERS
    namespaces = set(graph["modular_pipelines"])
    assert {"resnet18_400", "resnet18_400.fold_2", "stacking", "reporting"} <= namespaces
