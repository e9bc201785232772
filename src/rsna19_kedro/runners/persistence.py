"""What nodes hand to each other must stand on a disk."""

from fsspec.implementations.local import LocalFileSystem
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from rsna19_kedro.errors import InputError


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
        f"{lost[0]}:\n  type: rsna19_kedro.datasets.TableDataset\n"
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
