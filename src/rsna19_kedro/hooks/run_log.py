"""Log of a run: one line per node, no messages from libraries that log per file."""

import logging
import time

from kedro.framework.hooks import hook_impl
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

logger = logging.getLogger(__name__)

_NOISY = ("pydicom", "timm", "matplotlib", "PIL")


class NodeProgress:
    """Log one line per finished node: count, name and duration."""

    IN_MAIN_PROCESS = True

    def __init__(self) -> None:
        self._total = 0
        self._done = 0
        self._starts: dict[str, float] = {}

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Start counting."""
        self._total, self._done = len(pipeline.nodes), 0

    @hook_impl
    def before_nodes_run(self, pipeline: Pipeline) -> None:
        """Count only the nodes that will run; called by ``runners.GPURunner``."""
        self._total = len(pipeline.nodes)

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Note the start."""
        self._starts[node.name] = time.monotonic()

    @hook_impl
    def node_unchanged(self, node: Node) -> None:
        """Log that a node need not run; called by ``runners.GPURunner``."""
        self._done += 1
        logger.info("%d/%d %s, unchanged", self._done, self._total, node.name)

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Log the line."""
        self._done += 1
        seconds = time.monotonic() - self._starts.pop(node.name)
        logger.info("%d/%d %s, %.1f s", self._done, self._total, node.name, seconds)


class QuietLogs:
    """Suppress the messages of libraries that log per file or per training."""

    @hook_impl
    def after_context_created(self) -> None:
        """Raise their log levels after the project's logging is set up."""
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.ERROR)
