"""Files that a node reads besides its inputs: a list with sizes, times and digests."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from rsna19_kedro.errors import counted
from rsna19_kedro.files import atomic_path
from rsna19_kedro.provenance.declare import Checksums, Files
from rsna19_kedro.provenance.fingerprint import digest_files, digest_text

_NAMED = 3


@dataclass(frozen=True)
class FileList:
    """Files with their sizes and times.

    Attributes:
        files: Paths by name.
        table: ``name``, ``size``, ``mtime_ns``, sorted by name; also ``sha256`` if stored.
    """

    files: Files
    table: pd.DataFrame = field(repr=False)

    @classmethod
    def of(cls, files: Files) -> "FileList":
        """Read size and time of files, with one system call per file."""
        rows = []
        for name, path in sorted(files.items()):
            state = path.stat()
            rows.append((name, state.st_size, state.st_mtime_ns))
        return cls(files, pd.DataFrame(rows, columns=["name", "size", "mtime_ns"]))

    @property
    def stamp(self) -> str:
        """Number of files, and a digest of their names, sizes and times."""
        columns = [self.table[name].astype(str) for name in ("name", "size", "mtime_ns")]
        rows = ("|".join(row) for row in zip(*columns, strict=True))
        return f"{len(self.table)} files, {digest_text(rows)}"

    def write(self, result: Path, *, hash_images: bool) -> None:
        """Store the list next to a result, with the digest of each file.

        Args:
            result: The first result of the node.
            hash_images: Whether to hash all files, not only CSVs; images may be hashed when
                their volumes are prepared.
        """
        digests = [
            digest_files([self.files[name]]) if hash_images or name.endswith(".csv") else ""
            for name in self.table["name"]
        ]
        with atomic_path(list_path(result)) as part:
            self.table.assign(sha256=digests).to_parquet(part, compression="zstd")


def list_path(result: Path) -> Path:
    """Path of the file list of a result."""
    return result.parent / f".{result.name}.files.parquet"


def changes(
    now: FileList,
    result: Path,
    made_from: Mapping[str, str | None],
    checksums: Callable[[], Checksums] = dict,
) -> list[str]:
    """Say what has changed since the file list of a node's results was stored.

    If only the time of a file differs, its content is compared with the stored digest. If no
    file has changed, the stored list is updated.

    Args:
        now: The current files.
        result: See ``FileList.write``.
        made_from: Stamp of the list in the record of each result. A run that was killed after the
            first result may have left others of earlier files.
        checksums: Returns digests that are stored elsewhere; called only if needed.
    """
    try:
        stored = pd.read_parquet(list_path(result))
    except (OSError, ValueError):
        return ["the list of its files is missing"]
    listed = FileList({}, stored).stamp
    earlier = [name for name, stamp in made_from.items() if stamp != listed]
    if earlier:
        return [f"{name} was made from other files" for name in earlier]
    both = stored.merge(now.table, on="name", how="outer", suffixes=("_old", ""), indicator=True)
    added = both.loc[both["_merge"] == "right_only", "name"]
    removed = both.loc[both["_merge"] == "left_only", "name"]
    kept = both[both["_merge"] == "both"]
    resized = kept.loc[kept["size_old"] != kept["size"], "name"]
    touched = kept[(kept["size_old"] == kept["size"]) & (kept["mtime_ns_old"] != kept["mtime_ns"])]
    changed = [*resized, *_changed(touched, now.files, checksums)]
    texts = []
    for names, what in ((changed, "changed"), (list(added), "added"), (list(removed), "removed")):
        if names:
            more = ", ..." if len(names) > _NAMED else ""
            shown = f"{', '.join(sorted(names)[:_NAMED])}{more}"
            texts.append(f"{counted(len(names), 'file')} {what} ({shown})")
    if not texts:
        digests = stored.set_index("name")["sha256"].reindex(now.table["name"]).to_numpy()
        with suppress(OSError), atomic_path(list_path(result)) as part:
            now.table.assign(sha256=digests).to_parquet(part, compression="zstd")
    return texts


def _changed(touched: pd.DataFrame, files: Files, checksums: Callable[[], Checksums]) -> list[str]:
    """Names of the touched files whose content has changed."""
    if touched.empty:
        return []
    hashed = touched[touched["sha256"] != ""]
    digests = zip(hashed["name"], hashed["sha256"], strict=True)
    changed = [name for name, known in digests if digest_files([files[name]]) != known]
    others = touched.loc[touched["sha256"] == "", "name"]
    known_elsewhere = checksums() if len(others) else {}
    group_unchanged: dict[tuple[str, ...], bool] = {}
    for name in others:
        group, known = known_elsewhere.get(name, ((), ""))
        if group not in group_unchanged:
            paths = [files[member] for member in group if member in files]
            is_complete = bool(group) and len(paths) == len(group)
            group_unchanged[group] = is_complete and digest_files(paths) == known
        if not group_unchanged[group]:
            changed.append(name)
    return changed
