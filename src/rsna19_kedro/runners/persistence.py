"""Datasets between nodes must be stored on a disk.

Datasets have no public attribute for whether they keep their data in memory (``_EPHEMERAL``,
which Kedro's ParallelRunner reads too) or for their path and file system (``_filepath``,
``_fs``; Kedro's and this project's datasets use the same names).
"""

from fsspec.implementations.local import LocalFileSystem
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from rsna19_kedro.errors import InputError


def check_persistent(pipeline: Pipeline, catalog: CatalogProtocol) -> None:
    """Refuse outputs that are kept only in memory, where other processes cannot read them.

    Raises:
        InputError: Some are; the message names them and the missing catalog entry.
    """
    makers = {name: node.name for node in pipeline.nodes for name in node.outputs}
    lost = sorted(
        name
        for name in makers
        if getattr(catalog.get(name, fallback_to_runtime_pattern=True), "_EPHEMERAL", False)
    )
    if not lost:
        return
    listed = ", ".join(f"{name} (made by {makers[name]})" for name in lost[:5])
    more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
    raise InputError(
        f"These datasets are kept only in memory, where other workers cannot read them: {listed}"
        f"{more}. Add an entry for each to conf/base/catalog/, such as\n"
        f"{lost[0]}:\n  type: rsna19_kedro.datasets.TableDataset\n"
        f"  filepath: data/02_intermediate/{lost[0]}.parquet\n"
        "or run the nodes in sequence, without --runner-params."
    )


def remove_file(catalog: CatalogProtocol, name: str) -> None:
    """Remove a dataset if it is one file; folders record themselves what is finished."""
    dataset = catalog.get(name, fallback_to_runtime_pattern=True)
    filepath = str(getattr(dataset, "_filepath", ""))
    filesystem = getattr(dataset, "_fs", None) or LocalFileSystem()
    if dataset is not None and filepath and filesystem.isfile(filepath):
        filesystem.rm(filepath)
        dataset.release()
