"""Log of a run: one line per node, no messages from libraries that log per file."""

import logging
import time

from kedro.framework.hooks import hook_impl
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from rsna19_kedro.console import unwrap_log
from rsna19_kedro.progress import duration, set_position
from rsna19_kedro.runners.time_left import TimeLeft

logger = logging.getLogger(__name__)

_MIN_SHOWN_S = 5.0
"""A shorter remaining time is not shown."""

_NOISY = ("pydicom", "timm", "matplotlib", "PIL")


class NodeProgress:
    """Log one line per finished node: count, name, duration and remaining time of the run."""

    IN_MAIN_PROCESS = True

    def __init__(self) -> None:
        self._total = 0
        self._starts: dict[str, float] = {}
        self._left: set[str] = set()
        self._time_left = TimeLeft({}, {})

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Start counting."""
        self.before_nodes_run(pipeline, TimeLeft({}, {}))

    @hook_impl
    def before_nodes_run(self, pipeline: Pipeline, time_left: TimeLeft) -> None:
        """Count only the nodes that will run; called by ``runners.GPURunner``."""
        self._left = {node.name for node in pipeline.nodes}
        self._total, self._time_left = len(self._left), time_left

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Note the start."""
        self._starts[node.name] = time.monotonic()
        set_position(f"{self._total - len(self._left) + 1}/{self._total}")

    @hook_impl
    def node_unchanged(self, node: Node) -> None:
        """Log that a node need not run; called by ``runners.GPURunner``."""
        self._log(node, "unchanged")

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Log the line."""
        seconds = time.monotonic() - self._starts.pop(node.name)
        self._time_left.measured(node.name, seconds)
        self._log(node, f"{seconds:.1f} s")

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Forget the running node."""
        set_position("")

    @hook_impl
    def run_interrupted(self) -> None:
        """Forget the running node; called by ``runners.GPURunner``."""
        set_position("")

    def _log(self, node: Node, result: str) -> None:
        set_position("")
        self._left.discard(node.name)
        done = self._total - len(self._left)
        left = self._time_left.seconds(dict.fromkeys(self._left, 0.0)) if self._left else None
        end = f", about {duration(left)} left" if left and left >= _MIN_SHOWN_S else ""
        logger.info("%d/%d %s, %s%s", done, self._total, node.name, result, end)


class QuietLogs:
    """Suppress the messages of libraries that log per file or per training."""

    @hook_impl
    def after_context_created(self) -> None:
        """Raise their log levels after the project's logging is set up; never wrap lines."""
        unwrap_log()
        for name in _NOISY:
            logging.getLogger(name).setLevel(logging.ERROR)
