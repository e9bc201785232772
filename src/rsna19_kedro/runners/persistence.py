"""What nodes hand to each other must stand on a disk, and stand there whole."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from rsna19_kedro.errors import InputError
from rsna19_kedro.files import atomic_path


def check_persistent(pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    """Refuse outputs that are kept in memory only: no other process would ever see them.

    Raises:
        InputError: Names the datasets and the line that the catalog lacks.
    """
    lost = sorted(name for name in pipeline.all_outputs() if _in_memory(catalog, name))
    if not lost:
        return
    makers = {name: node.name for node in pipeline.nodes for name in node.outputs}
    listed = ", ".join(f"{name} (made by {makers[name]})" for name in lost[:5])
    more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
    raise InputError(
        f"These datasets are kept in memory only, where other workers cannot read them: {listed}"
        f"{more}. Add an entry for each to conf/base/catalog/, such as\n"
        f"{lost[0]}:\n  type: pandas.ParquetDataset\n"
        f"  filepath: data/02_intermediate/{lost[0]}.parquet\n"
        "or run the nodes in order in one process, without --runner-params."
    )


def _in_memory(catalog: CatalogProtocol, name: str) -> bool:
    dataset = catalog.get(name, fallback_to_runtime_pattern=True)
    return dataset is None or bool(getattr(dataset, "_EPHEMERAL", False))


def remove_file(catalog: CatalogProtocol, name: str) -> None:
    """Remove a dataset that is one file; folders keep their own account of what is finished."""
    dataset = catalog.get(name, fallback_to_runtime_pattern=True)
    filepath = getattr(dataset, "_filepath", None)
    if dataset is None or filepath is None:
        return
    filesystem = getattr(dataset, "_fs", None) or LocalFileSystem()
    if filesystem.isfile(str(filepath)):
        filesystem.rm(str(filepath))
        dataset.release()


class WholeFiles(LocalFileSystem):
    """The local disk, where a file takes its name only once it has been written to its end.

    Kedro's datasets of pandas, text and JSON write under the final name; a kill meanwhile
    would leave half a table that ``--only-missing-outputs`` takes for a whole one.
    """

    def open(self, path: Any, mode: str = "rb", **options: Any) -> Any:
        """Open a file; for writing, a part beside it that is renamed when the block ends well."""
        if not mode.startswith(("w", "x")):
            return super().open(path, mode, **options)
        return _PartFile(LocalFileSystem().open, Path(self._strip_protocol(path)), mode, options)


class _PartFile:
    """The context that ``WholeFiles.open`` gives for writing."""

    def __init__(self, opener: Any, path: Path, mode: str, options: dict[str, Any]) -> None:
        self._opener, self._path, self._mode, self._options = opener, path, mode, options
        self._stack = ExitStack()

    def __enter__(self) -> Any:
        part = self._stack.enter_context(atomic_path(self._path))
        return self._stack.enter_context(self._opener(str(part), self._mode, **self._options))

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)


def write_whole_files(pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    """Let the outputs that are single files on the local disk be written whole or not at all."""
    for name in pipeline.all_outputs():
        dataset = catalog.get(name, fallback_to_runtime_pattern=True)
        if type(getattr(dataset, "_fs", None)) is LocalFileSystem:
            dataset._fs = WholeFiles(auto_mkdir=True)  # type: ignore[union-attr]
