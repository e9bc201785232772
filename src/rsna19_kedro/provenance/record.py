"""The record of a stored result: a small JSON file next to it."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

from rsna19_kedro.files import atomic_path
from rsna19_kedro.provenance.fingerprint import digest, stamp

logger = logging.getLogger(__name__)

_FORMAT: Final = 1
_SUFFIX: Final = ".origin.json"


@dataclass(frozen=True)
class Identity:
    """Everything that determines a result; if any value differs, the result is out of date.

    Attributes:
        node: Name of the node that made it.
        version: See ``declare.Declaration``.
        parameters: Values by dotted name.
        inputs: Digests by name of the dataset.
    """

    node: str
    version: int
    parameters: dict[str, Any]
    inputs: dict[str, str]


@dataclass(frozen=True)
class Record:
    """Origin of a stored result.

    Attributes:
        dataset: Its name in the catalog.
        identity: Everything that determines it.
        content: Digest of the result, so that the record does not apply to another file.
        stamp: Stamp of the result when ``content`` was computed; see ``fingerprint.stamp``.
        files: Number and stamp of the files that the node read besides its inputs; ``None`` if
            it reads none.
        made: Time when the result was finished, ISO 8601 with time zone.
        seconds: Duration of the node.
        machine: Name of the machine.
        versions: Versions of this package and of the relevant libraries.
        accepted: Why it was out of date when it was accepted by ``reuse=stored``.
    """

    dataset: str
    identity: Identity
    content: str
    stamp: str
    files: str | None = None
    made: str = ""
    seconds: float = 0.0
    machine: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    accepted: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read the record of a result; ``None`` if it is missing or unusable."""
        try:
            content = json.loads(record_path(path).read_text(encoding="utf-8"))
            if content.pop("format") != _FORMAT:
                return None
            identity = Identity(**content.pop("identity"))
            content["accepted"] = tuple(content["accepted"])
            return cls(identity=identity, **content)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Write the record of the result at ``path``, atomically."""
        with atomic_path(record_path(path)) as part:
            part.write_text(
                json.dumps({"format": _FORMAT, **asdict(self)}, indent=1), encoding="utf-8"
            )


def now() -> str:
    """Current UTC time in the format of records: ISO 8601, in seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def record_path(path: Path) -> Path:
    """Path of the record of a file or folder."""
    return path.parent / f".{path.name}{_SUFFIX}"


def current_digest(
    path: Path, record: Record | None, content_of: Callable[[Path], str] = digest
) -> str:
    """Digest of a stored result; computed only if its stamp differs from the recorded one.

    Args:
        path: The file or folder.
        record: Its record, which is updated if only the times have changed.
        content_of: Computes the digest of this kind of dataset.
    """
    now = stamp(path)
    if record is not None and record.stamp == now:
        return record.content
    content = content_of(path)
    if record is not None and record.content == content:
        with suppress(OSError):  # On a read-only disk the digest is computed each time.
            replace(record, stamp=now).write(path)
    return content


def records_in(folder: Path) -> Iterator[tuple[Path, Record]]:
    """Yield the paths of the results in a folder that have a record, and the records."""
    for record_file in sorted(folder.glob(f".*{_SUFFIX}")):
        path = record_file.parent / record_file.name.removesuffix(_SUFFIX)[1:]
        record = Record.read(path) if path.exists() else None
        if record is not None:
            yield path, record


def differences(old: Identity, new: Identity) -> list[str]:
    """List the reasons why a result is out of date."""
    if old.node != new.node:
        return [f"it is a result of {old.node}"]
    texts = []
    if old.version != new.version:
        texts.append(f"version of the code {old.version} -> {new.version}")
    texts += _changed(old.parameters, new.parameters)
    for name in sorted(old.inputs.keys() | new.inputs.keys()):
        if name not in new.inputs:
            texts.append(f"{name} is no longer an input")
        elif name not in old.inputs:
            texts.append(f"{name} is a new input")
        elif old.inputs[name] != new.inputs[name]:
            texts.append(f"{name} has changed")
    return texts


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    texts = []
    for name in sorted(old.keys() | new.keys()):
        # Compared as JSON, because records contain lists where parameters are tuples.
        before, after = (json.dumps(values.get(name), sort_keys=True) for values in (old, new))
        if before == after:
            continue
        if name not in old:
            texts.append(f"{name} is new: {after}")
        elif name not in new:
            texts.append(f"{name} was removed (previously {before})")
        else:
            texts.append(f"{name} {before} -> {after}")
    return texts
