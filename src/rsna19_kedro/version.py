"""Version of this package, and versions of other packages."""

from importlib.metadata import PackageNotFoundError, version

__version__ = "0.1.0"


def package_versions(*names: str) -> dict[str, str]:
    """Versions by distribution name; ``not installed`` for missing ones.

    The version of this package is always known, even in a clone that is not installed.
    """
    versions = {}
    for name in names:
        try:
            versions[name] = __version__ if name == "rsna19_kedro" else version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions
