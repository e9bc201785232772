"""Files that the nodes read in addition to their inputs, for provenance records."""

from rsna19_kedro.provenance.declare import Files

from .parameters import FoldsParameters


def given_files(params: FoldsParameters) -> Files:
    """Return the CSV files of given folds by name."""
    if params.given is None:
        return {}
    given = params.given.expanduser()
    paths = sorted(given.glob("*.csv")) if given.is_dir() else [given]
    return {path.name: path for path in paths}
