"""Detection of intracranial haemorrhage and its types on head CT, as a Kedro project."""

from typing import TYPE_CHECKING, Any

from rsna19_kedro.errors import (
    DamagedFileError,
    InputError,
    ModelError,
    ParameterError,
    SourceError,
)
from rsna19_kedro.version import __version__

if TYPE_CHECKING:
    from rsna19_kedro.api import predict_study
    from rsna19_kedro.provenance.history import origin

__all__ = [
    "DamagedFileError",
    "InputError",
    "ModelError",
    "ParameterError",
    "SourceError",
    "__version__",
    "origin",
    "predict_study",
]


def __getattr__(name: str) -> Any:
    """Import functions, and with them torch or pandas, on first use."""
    if name == "predict_study":
        from rsna19_kedro.api import predict_study

        return predict_study
    if name == "origin":
        from rsna19_kedro.provenance.history import origin

        return origin
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
