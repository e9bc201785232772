"""Nodes as Ray tasks: hand them out, hear how they get on, collect how they ended."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import ray
from kedro.io import CatalogProtocol
from kedro.pipeline.node import Node
from ray import cloudpickle
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from rsna19_kedro.errors import InputError
from rsna19_kedro.runners.needs import Needs
from rsna19_kedro.runners.worker import Outcome, Setup, run_node

_FLUSH_S = 5.0


class Mailbox:
    """Messages of all workers, kept until the main process takes them."""

    def __init__(self) -> None:
        self._messages: list[tuple[Any, ...]] = []

    def put(self, message: tuple[Any, ...]) -> None:
        """Add one."""
        self._messages.append(message)

    def take(self) -> list[tuple[Any, ...]]:
        """Give all and forget them."""
        taken, self._messages = self._messages, []
        return taken


def _task(setup: Setup, name: str, payload: bytes, mailbox: Any) -> Outcome:
    """The Ray task: its messages have arrived before its answer."""
    last: list[Any] = []

    def send(message: tuple[Any, ...]) -> None:
        last[:] = [mailbox.put.remote(message)]

    outcome = run_node(setup, name, payload, send)
    with suppress(RayError):
        ray.get(last, timeout=_FLUSH_S)
    return outcome


class Pool:
    """Ray's side of a run.

    Args:
        setup: What workers must know.
        memory: Gigabytes a node, by kind of slot.
        reuse_gpu_workers: Whether a process may take one gpu node after another. A process
            that has used a card keeps it and its memory, so only for cards that are not real.
    """

    def __init__(self, setup: Setup, memory: dict[str, Any], reuse_gpu_workers: bool) -> None:
        self._setup = setup
        self._memory = {kind: int(value * 1024**3) for kind, value in memory.items()}
        self._on_cpu = ray.remote(num_cpus=1, max_retries=0)(_task)
        calls = 0 if reuse_gpu_workers else 1  # 0: as many as there are.
        self._on_gpu = ray.remote(num_cpus=0, num_gpus=1, max_retries=0, max_calls=calls)(_task)
        self._mailbox: Any = ray.remote(num_cpus=0, max_restarts=-1)(Mailbox).remote()
        self._running: dict[Any, str] = {}

    def submit(self, node: Node, payload: bytes, needs: Needs) -> None:
        """Start a node as soon as Ray finds room for it."""
        kind = "gpu" if needs.gpus else "cpu"
        options: dict[str, Any] = {"name": node.name}
        if kind in self._memory:
            options["memory"] = self._memory[kind]
        if needs.gpus:
            options["num_gpus"] = needs.gpus
        task = (self._on_gpu if needs.gpus else self._on_cpu).options(**options)
        setup = replace(self._setup, has_gpu=bool(needs.gpus))
        self._running[task.remote(setup, node.name, payload, self._mailbox)] = node.name

    def wait(self, timeout_s: float) -> list[tuple[str, Outcome | RayError]]:
        """Nodes that ended; those whose worker died come with Ray's error.

        Args:
            timeout_s: How long to wait for the first.
        """
        done, _ = ray.wait(list(self._running), num_returns=1, timeout=timeout_s)
        if done and len(self._running) > 1:
            everything = list(self._running)
            done, _ = ray.wait(everything, num_returns=len(everything), timeout=0)
        return [(self._running.pop(reference), _answer(reference)) for reference in done]

    def messages(self) -> list[tuple[Any, ...]]:
        """What workers said since the last call."""
        try:
            return list(ray.get(self._mailbox.take.remote(), timeout=_FLUSH_S))
        except (RayError, GetTimeoutError):
            return []  # The mailbox's process died: Ray starts it anew.

    def cancel(self, patience_s: float = 5.0) -> None:
        """Kill the workers of all that runs."""
        for reference in self._running:
            with suppress(RayError, ValueError):
                ray.cancel(reference, force=True)
        if self._running:
            references = list(self._running)
            with suppress(RayError):
                ray.wait(references, num_returns=len(references), timeout=patience_s)


def _answer(reference: Any) -> Outcome | RayError:
    try:
        return ray.get(reference)
    except RayError as error:
        return error


def is_death(error: RayError) -> bool:
    """Whether the machine rather than the code was at fault, so that another try makes sense."""
    return not isinstance(error, RayTaskError)


def pack(node: Node, catalog: CatalogProtocol) -> bytes:
    """Pickle a node with the datasets that it needs, and nothing else of the catalog.

    Raises:
        InputError: The node's function or a dataset cannot be sent to another process.
    """
    names = dict.fromkeys([*node.inputs, *node.outputs, *node.confirms])
    datasets = {name: catalog.get(name, fallback_to_runtime_pattern=True) for name in names}
    try:
        return cloudpickle.dumps((node, datasets))
    except Exception as error:
        raise InputError(
            f"Node {node.name} cannot be sent to another process: {_culprit(node, datasets)} "
            f"({error}). Run it in order, without --runner-params, or make it picklable."
        ) from error


def _culprit(node: Node, datasets: dict[str, Any]) -> str:
    parts: Iterable[tuple[str, Any]] = [
        ("its function", node),
        *((f"its dataset {name}", dataset) for name, dataset in datasets.items()),
    ]
    for what, value in parts:
        try:
            cloudpickle.dumps(value)
        except Exception:
            return what
    return "its parts together"
