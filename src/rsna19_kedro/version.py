"""The version of this package, and those of the packages that made a result."""

from importlib.metadata import PackageNotFoundError, version

__version__ = "0.1.0"


def package_versions(*names: str) -> dict[str, str]:
    """Versions by distribution name; ``not installed`` where one is absent.

    This package's own never is: a clone that runs without being installed has no metadata.
    """
    versions = {}
    for name in names:
        try:
            versions[name] = __version__ if name == "rsna19_kedro" else version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions
