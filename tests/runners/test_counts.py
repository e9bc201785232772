"""A run counts the nodes that it executes, not those that are finished."""

from collections.abc import Callable
from pathlib import Path

import pytest
from kedro.framework.hooks.manager import _create_hook_manager  # As a session does.
from kedro.pipeline import Node, Pipeline
from pluggy import PluginManager

from rsna19_kedro.hooks.run_log import NodeProgress
from rsna19_kedro.runners import GPURunner
from rsna19_kedro.scope import ANCESTOR_TAG
from toy_graphs import toy, toy_catalog


def _run(folder: Path, runner: GPURunner) -> None:
    """Resume four nodes, of which one is finished and one is a finished ancestor model."""
    nodes = [
        Node(toy("parent").func, None, "parent", name="make_parent", tags={ANCESTOR_TAG}),
        toy("a", seconds=0),
        toy("b", "a", "parent", seconds=0),
        toy("c", "b", seconds=0),
    ]
    pipeline = Pipeline(nodes)
    catalog = toy_catalog(folder, pipeline)
    for name in ("parent", "a"):
        catalog.save(name, {})
    hooks: PluginManager = _create_hook_manager()
    hooks.register(NodeProgress())
    # As a session does, which does not know what is finished.
    hooks.hook.before_pipeline_run(run_params={}, pipeline=pipeline, catalog=catalog)
    runner.run(pipeline, catalog, hooks, only_missing_outputs=True)


def _on_ray() -> GPURunner:
    pytest.importorskip("ray", reason="Ray is not installed (.[cluster])")
    return GPURunner(cpus=2)


@pytest.mark.parametrize(
    "runner", [lambda: GPURunner(cpus=1), pytest.param(_on_ray, marks=pytest.mark.slow)]
)
def test_a_resumed_run_counts_only_the_nodes_that_it_executes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, runner: Callable[[], GPURunner]
) -> None:
    caplog.set_level("INFO", logger="rsna19_kedro")
    _run(tmp_path, runner())
    lines = [line for line in caplog.messages if " make_" in line and line.endswith(" s")]
    assert [line.split(",")[0] for line in lines] == ["1/2 make_b", "2/2 make_c"]
