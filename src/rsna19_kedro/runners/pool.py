"""Nodes as Ray tasks: submit them, collect their messages and results."""

from contextlib import suppress
from typing import Any

import ray
from kedro.io import CatalogProtocol
from kedro.pipeline.node import Node
from ray import cloudpickle
from ray.exceptions import GetTimeoutError, RayError

from rsna19_kedro.errors import InputError
from rsna19_kedro.runners.worker import NodeRun, Setup, run_node

_FLUSH_S = 5.0


class Mailbox:
    """Messages of all workers, kept until the main process takes them."""

    def __init__(self) -> None:
        self._messages: list[tuple[str, str, Any]] = []

    def put(self, message: tuple[str, str, Any]) -> None:
        """Add a message."""
        self._messages.append(message)

    def take(self) -> list[tuple[str, str, Any]]:
        """Return all messages and forget them."""
        taken, self._messages = self._messages, []
        return taken


def _task(setup: Setup, run: NodeRun, payload: list[bytes], mailbox: Any) -> NodeRun:
    """The Ray task; it ends only when its messages have arrived."""
    last: list[Any] = []

    def send(message: tuple[str, str, Any]) -> None:
        last[:] = [mailbox.put.remote(message)]

    ended = run_node(setup, run, payload, send)
    with suppress(RayError):
        ray.get(last, timeout=_FLUSH_S)
    return ended


class Pool:
    """Ray tasks of a run.

    Args:
        setup: Facts about the run that workers need.
        memory: Gigabytes per node, by kind of slot.
        reuse_gpu_workers: Whether a process may run several GPU nodes in turn. Only for logical
            GPUs: a process keeps a real GPU and its memory once it has used it.
    """

    def __init__(self, setup: Setup, memory: dict[str, Any], reuse_gpu_workers: bool) -> None:
        self._setup = setup
        self._memory = {kind: int(value * 1024**3) for kind, value in memory.items()}
        calls = 0 if reuse_gpu_workers else 1  # 0: unlimited.
        self._on = {
            "cpu": ray.remote(num_cpus=1, max_retries=0)(_task),
            "gpu": ray.remote(num_cpus=0, num_gpus=1, max_retries=0, max_calls=calls)(_task),
        }
        self._mailbox: Any = ray.remote(num_cpus=0, max_restarts=-1)(Mailbox).remote()
        self._running: dict[Any, str] = {}

    def submit(self, run: NodeRun, payload: list[bytes]) -> None:
        """Submit a node; Ray starts it as soon as a slot is free."""
        options: dict[str, Any] = {"num_gpus": run.gpus} if run.gpus else {}
        if run.slot in self._memory:
            options["memory"] = self._memory[run.slot]
        task = self._on[run.slot].options(name=run.node, **options)
        self._running[task.remote(self._setup, run, payload, self._mailbox)] = run.node

    def wait(self, timeout_s: float) -> tuple[str, NodeRun | RayError] | None:
        """Return the next node that ended, with Ray's error if its worker died.

        Args:
            timeout_s: Longest time to wait; ``None`` is returned after it.
        """
        done, _ = ray.wait(list(self._running), num_returns=1, timeout=timeout_s)
        if not done:
            return None
        name = self._running.pop(done[0])
        try:
            return name, ray.get(done[0])
        except RayError as error:
            return name, error

    def messages(self) -> list[tuple[str, str, Any]]:
        """Messages that workers sent since the last call."""
        try:
            return list(ray.get(self._mailbox.take.remote(), timeout=_FLUSH_S))
        except (RayError, GetTimeoutError):
            return []  # The mailbox's process died; Ray restarts it.

    def cancel(self, patience_s: float = 5.0) -> None:
        """Kill the workers of all running nodes."""
        for reference in self._running:
            with suppress(RayError, ValueError):
                ray.cancel(reference, force=True)
        with suppress(RayError, ValueError):  # ValueError: no node is running.
            ray.wait(list(self._running), num_returns=len(self._running), timeout=patience_s)


def pack(node: Node, catalog: CatalogProtocol) -> list[bytes]:
    """Pickle a node, then each dataset that it needs together with its name.

    Raises:
        InputError: The node's function or a dataset cannot be sent to another process.
    """
    names = dict.fromkeys([*node.inputs, *node.outputs, *node.confirms])
    datasets = [(name, catalog.get(name, fallback_to_runtime_pattern=True)) for name in names]
    packed = []
    for part in (node, *datasets):
        try:
            packed.append(cloudpickle.dumps(part))
        except Exception as error:
            culprit = f"its dataset {part[0]}" if isinstance(part, tuple) else "its function"
            raise InputError(
                f"Node {node.name} cannot be sent to another process: {culprit} cannot be pickled "
                f"({error}). Run it without --runner-params, or make it picklable."
            ) from error
    return packed
