"""Write a record of its origin next to each result as soon as it is saved."""

import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from kedro.framework.hooks import hook_impl
from kedro.io import CatalogProtocol
from kedro.pipeline.node import Node

from rsna19_kedro.errors import InputError
from rsna19_kedro.provenance.declare import declaration_of
from rsna19_kedro.provenance.fingerprint import digest, stamp
from rsna19_kedro.provenance.listed_files import FileList
from rsna19_kedro.provenance.record import Identity, Record, now
from rsna19_kedro.runners.node_inputs import local_path
from rsna19_kedro.runners.reuse import Reuse
from rsna19_kedro.version import package_versions

_LIBRARIES: Final = ("rsna19_kedro", "torch", "timm", "numpy", "pandas", "scikit-learn", "pydicom")


@dataclass(frozen=True)
class _Begun:
    """Facts about a node at its start."""

    catalog: CatalogProtocol
    identity: Identity
    files: FileList | None
    started: float


class Records:
    """Write records with any runner, including in worker processes."""

    def __init__(self) -> None:
        self._begun: dict[str, _Begun] = {}

    @hook_impl
    def before_node_run(
        self, node: Node, catalog: CatalogProtocol, inputs: Mapping[str, Any]
    ) -> None:
        """Note the inputs of the node before anything can change them."""
        if not declaration_of(node.func).recorded:
            return
        reuse = Reuse(catalog)
        files = None
        with suppress(InputError, OSError):  # The node itself reports the error.
            files = reuse.files(node, inputs)
        identity = reuse.identity(node, inputs)
        self._begun[node.name] = _Begun(catalog, identity, files, time.monotonic())

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Write the record of a saved result."""
        begun = self._begun.get(node.name)
        if begun is None:
            return
        dataset = begun.catalog[dataset_name]
        path = local_path(dataset)
        if path is None or not path.exists():
            return
        if begun.files is not None and dataset_name == node.outputs[0]:
            begun.files.write(path, hash_images=declaration_of(node.func).checksums is None)
        before = stamp(path)
        Record(
            dataset=dataset_name,
            identity=begun.identity,
            content=getattr(dataset, "content_digest", digest)(path),
            stamp=before,
            files=None if begun.files is None else begun.files.stamp,
            made=now(),
            seconds=round(time.monotonic() - begun.started, 2),
            machine=socket.gethostname(),
            versions=_versions(),
        ).write(path)


@cache
def _versions() -> dict[str, str]:
    return package_versions(*_LIBRARIES)
