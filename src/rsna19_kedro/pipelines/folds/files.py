"""Files that the nodes read beside their inputs, for the records of their results."""

from rsna19_kedro.provenance.declare import Files

from .parameters import FoldsParameters


def given_files(params: FoldsParameters) -> Files:
    """The CSVs of given folds."""
    if params.given is None:
        return {}
    given = params.given.expanduser()
    paths = sorted(given.glob("*.csv")) if given.is_dir() else [given]
    return {path.name: path for path in paths}
