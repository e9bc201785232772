"""Comparison of Kedro nodes and datasets with the records of the stored results."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pandas as pd
from kedro.io import CatalogProtocol, DatasetError
from kedro.pipeline import Node, Pipeline

from rsna19_kedro.datasets.folder import FolderDataset
from rsna19_kedro.errors import InputError
from rsna19_kedro.provenance.declare import Files, declaration_of
from rsna19_kedro.provenance.fingerprint import digest, digest_text
from rsna19_kedro.provenance.listed_files import FileList, changes
from rsna19_kedro.provenance.parameters import flatten
from rsna19_kedro.provenance.plan import NodePlan, Plan, State
from rsna19_kedro.provenance.record import Identity, Record, current_digest, differences
from rsna19_kedro.runners.node_inputs import arguments_of, local_path, typed_parameter

_OF_VOLUMES: Final = ("volumes", "volume_index")
_VOLUME_COLUMNS: Final = ["study_id", "slices", "checksum"]


class Reuse:
    """Comparison of the stored results of a catalog with what its nodes would make now.

    Args:
        catalog: Catalog of the run.
        accept: Whether out-of-date results that the user has accepted (``reuse=stored``) count
            as up to date.
        with_files: Whether to check the files that nodes read besides their inputs, such as the
            raw data.
    """

    def __init__(
        self, catalog: CatalogProtocol, *, accept: bool = False, with_files: bool = True
    ) -> None:
        self._catalog, self._accept, self._with_files = catalog, accept, with_files
        self._parameters: dict[str, Any] = {}
        self._digests: dict[str, str | None] = {}
        self._of_studies: dict[tuple[str | None, ...], str] = {}

    def plan(self, pipeline: Pipeline) -> Plan:
        """Say of each node whether its results are up to date."""
        self._digests.clear()
        plans: dict[str, NodePlan] = {}
        remade: set[str] = set()
        for node in pipeline.nodes:
            plan = self.state(node)
            if not plan.runs and remade.intersection(node.inputs):
                plan = replace(plan, state=State.FOLLOWS)
            if plan.runs:
                remade.update(node.outputs)
            plans[node.name] = plan
        needed: set[str] = set()
        for node in reversed(pipeline.nodes):  # Results kept in memory are made again if needed.
            if not plans[node.name].runs and needed.intersection(self._in_memory(node.outputs)):
                plans[node.name] = NodePlan(node.name, State.MISSING)
            if plans[node.name].runs:
                needed.update(node.inputs)
        return Plan(tuple(plans.values()))

    def state(self, node: Node) -> NodePlan:
        """Say whether the results of a node are up to date with its stored inputs."""
        if not node.outputs:
            return NodePlan(node.name, State.FOLLOWS)
        in_memory = self._in_memory(node.outputs)
        stored = [name for name in node.outputs if name not in in_memory]
        if not all(self._catalog.exists(name) for name in stored):
            return NodePlan(node.name, State.MISSING)
        paths = {name: self._path(name) for name in stored}
        kept = {name: path for name, path in paths.items() if path is not None}
        if not declaration_of(node.func).recorded:
            return NodePlan(node.name, State.UP_TO_DATE)
        records = {name: Record.read(path) for name, path in kept.items()}
        known = [record for record in records.values() if record is not None]
        if not known:
            return NodePlan(node.name, State.UNKNOWN)
        seconds = max(record.seconds for record in known)
        accepted = tuple(dict.fromkeys(cause for record in known for cause in record.accepted))
        causes = tuple(dict.fromkeys(self._causes(node, kept, records)))
        if self._accept:
            causes = tuple(cause for cause in causes if cause not in accepted)
        state = State.OUT_OF_DATE if causes else State.UP_TO_DATE
        return NodePlan(node.name, state, causes, seconds, accepted)

    def made(self, node: Node) -> str:
        """Time of the oldest result of a node (ISO 8601); empty if one has no record."""
        paths = [path for path in map(self._path, node.outputs) if path is not None]
        records = [Record.read(path) for path in paths]
        return min((record.made if record else "" for record in records), default="")

    def identity(self, node: Node, inputs: Mapping[str, Any] | None = None) -> Identity:
        """Everything that determines the results of a node now.

        Args:
            node: The node.
            inputs: Its loaded inputs; ``None`` loads those that are needed.
        """
        declared = declaration_of(node.func)
        load = self._load if inputs is None else inputs.__getitem__
        parameters: dict[str, Any] = {}
        digests: dict[str, str] = {}
        arguments = arguments_of(node)
        argument_of = {dataset: argument for argument, dataset in arguments.items()}
        for dataset in node.inputs:
            argument = argument_of.get(dataset, "")
            if argument in declared.ignores:
                continue
            if dataset.startswith("params:") or dataset == "parameters":
                value = typed_parameter(node, argument, load(dataset))
                if isinstance(value, Path):  # A folder to work in.
                    continue
                prefix = f"{argument}."
                ignored = [name.removeprefix(prefix) for name in declared.ignores if prefix in name]
                parameters |= flatten(dataset.removeprefix("params:"), value, ignored)
            elif isinstance(self._catalog[dataset], FolderDataset):
                continue
            elif declared.studies_of and argument in _OF_VOLUMES:
                tables = [arguments[name] for name in declared.studies_of]
                value = self._digest_of_studies(arguments["volume_index"], tables, load)
                digests |= {dataset: value} if value is not None else {}
            else:
                value = self._digest(dataset)
                digests |= {dataset: value} if value is not None else {}
        return Identity(node.name, declared.version, parameters, digests)

    def files(self, node: Node, inputs: Mapping[str, Any] | None = None) -> FileList | None:
        """List the files that a node reads besides its inputs; ``None`` if it reads none.

        Raises:
            InputError: They cannot be listed, for example because the raw data are gone.
            DatasetError: See above.
            OSError: See above.
        """
        declared = declaration_of(node.func)
        if declared.files is None:
            return None
        load = self._load if inputs is None else inputs.__getitem__
        arguments = arguments_of(node)
        names = inspect.signature(declared.files).parameters
        given = {name: typed_parameter(node, name, load(arguments[name])) for name in names}
        files: Files = declared.files(**given)
        return FileList.of(files)

    def accept_stored(self, pipeline: Pipeline) -> Plan:
        """Note in the records of out-of-date results that the user accepts them.

        Returns:
            The plan before the change.
        """
        plan = Reuse(self._catalog, with_files=self._with_files).plan(pipeline)
        causes = {node.node: node.causes for node in plan.of(State.OUT_OF_DATE)}
        for node in pipeline.nodes:
            if node.name in causes:
                self._note_accepted(node, causes[node.name])
        return plan

    def forget_accepted(self, pipeline: Pipeline, plan: Plan) -> bool:
        """Remove the notes of results that are up to date again; return whether any had one."""
        fresh = {node.node for node in plan.of(State.UP_TO_DATE) if node.accepted}
        for node in pipeline.nodes:
            if node.name in fresh:
                self._note_accepted(node, ())
        return bool(fresh)

    def _note_accepted(self, node: Node, causes: tuple[str, ...]) -> None:
        for path in filter(None, map(self._path, node.outputs)):
            record = Record.read(path)
            if record is not None and record.accepted != causes:
                replace(record, accepted=causes).write(path)

    def _causes(
        self, node: Node, paths: Mapping[str, Path], records: Mapping[str, Record | None]
    ) -> Iterable[str]:
        now = self.identity(node)
        for name, path in paths.items():
            record = records[name]
            if record is None:
                yield f"{name} has no record of its origin"
                continue
            # An input without a digest is missing, which is no cause: the node that makes it runs.
            old = record.identity
            unknown = (set(node.inputs) & old.inputs.keys()) - now.inputs.keys()
            missing = {name: old.inputs[name] for name in unknown}
            yield from differences(old, replace(now, inputs=now.inputs | missing))
            with suppress(FileNotFoundError):
                if current_digest(path, record, self._content_of(name)) != record.content:
                    yield f"{name} was changed after it was made"
        yield from self._changed_files(node, paths, records)

    def _changed_files(
        self, node: Node, paths: Mapping[str, Path], records: Mapping[str, Record | None]
    ) -> list[str]:
        if not self._with_files:
            return []
        made_from = {name: record.files for name, record in records.items() if record is not None}
        try:
            now = self.files(node)
        except (InputError, DatasetError, OSError):
            # The raw data, and the results that list them, may be removed after volume_prep.
            return []
        if now is None or set(made_from.values()) == {now.stamp}:
            return []
        first = next(iter(paths.values()))
        texts = changes(now, first, made_from, lambda: self._checksums(node))
        if not texts:
            for name, record in records.items():
                if record is not None:
                    with suppress(OSError):
                        replace(record, files=now.stamp).write(paths[name])
        return texts

    def _checksums(self, node: Node) -> Any:
        function = declaration_of(node.func).checksums
        names = list(inspect.signature(function).parameters) if function else []
        if function is None or any(name not in self._catalog for name in names):
            return {}
        if not all(self._catalog.exists(name) for name in names):
            return {}
        return function(**{name: self._load(name) for name in names})

    def _digest_of_studies(
        self, volume_index: str, tables: list[str], load: Callable[[str], Any]
    ) -> str | None:
        """Digest of the volumes of the studies in some tables."""
        key = tuple(map(self._digest, (volume_index, *tables)))
        if None in key:
            return None
        if key not in self._of_studies:
            studies = pd.unique(pd.concat([load(name)["study_id"] for name in tables]))
            volumes = load(volume_index)
            chosen = volumes.loc[volumes["study_id"].isin(studies), _VOLUME_COLUMNS]
            rows = chosen.sort_values("study_id").astype(str).itertuples(index=False)
            self._of_studies[key] = digest_text("|".join(row) for row in rows)
        return self._of_studies[key]

    def _digest(self, name: str) -> str | None:
        """Digest of a stored dataset; ``None`` if it is missing or kept in memory."""
        if name not in self._digests:
            self._digests[name] = self.digest_now(name)
        return self._digests[name]

    def digest_now(self, name: str) -> str | None:
        """Digest of a dataset as in ``identity``, computed anew."""
        dataset = self._catalog[name]
        if hasattr(dataset, "identity"):
            return str(dataset.identity())
        path = self._path(name)
        if path is None or not path.exists():
            return None
        return current_digest(path, Record.read(path), self._content_of(name))

    def forget(self, names: Iterable[str]) -> None:
        """Forget the digests of these datasets, which have been saved since."""
        for name in names:
            self._digests.pop(name, None)

    def _content_of(self, name: str) -> Callable[[Path], str]:
        content: Callable[[Path], str] = getattr(self._catalog[name], "content_digest", digest)
        return content

    def _load(self, name: str) -> Any:
        if name.startswith("params:") or name == "parameters":
            if name not in self._parameters:
                self._parameters[name] = self._catalog.load(name)
            return self._parameters[name]
        return self._catalog.load(name)

    def _in_memory(self, names: Iterable[str]) -> set[str]:
        return {
            name
            for name in names
            if name not in self._catalog or getattr(self._catalog[name], "_EPHEMERAL", False)
        }

    def _path(self, name: str) -> Path | None:
        return local_path(self._catalog[name]) if name in self._catalog else None
