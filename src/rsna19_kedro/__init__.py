"""Detection and typing of intracranial haemorrhage on head CT, as a Kedro project."""

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

__all__ = [
    "DamagedFileError",
    "InputError",
    "ModelError",
    "ParameterError",
    "SourceError",
    "__version__",
    "predict_study",
]


def __getattr__(name: str) -> Any:
    """Import ``predict_study``, and torch with it, when it is asked for."""
    if name == "predict_study":
        from rsna19_kedro.api import predict_study

        return predict_study
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
