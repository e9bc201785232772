"""Nodes that make phantoms."""

from pathlib import Path

from rsna19_kedro.phantoms import replace_phantoms
from rsna19_kedro.provenance.declare import result_of

from .parameters import PhantomParameters


@result_of(ignores=("params.workers",))
def generate_phantoms(raw_folder: Path, params: PhantomParameters) -> Path:
    """Fill the raw data folder with synthetic studies in Kaggle's layout.

    Args:
        raw_folder: Folder of the raw data, empty or with phantoms.
        params: The studies to generate.

    Returns:
        The folder.

    Raises:
        SourceError: The folder contains other data.
    """
    replace_phantoms(raw_folder, params.phantom_set(), workers=params.workers)
    return raw_folder
