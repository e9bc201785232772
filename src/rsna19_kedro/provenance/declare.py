"""Declarations of a node's function: its version, and which of its inputs matter."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel

Files = Mapping[str, Path]
"""Files by their recorded name; relative names stay valid if the data are moved."""

Checksums = Mapping[str, tuple[tuple[str, ...], str]]
"""By the name of a file: names of the files that were hashed together, and their SHA-256."""

_ATTRIBUTE: Final = "result_of"
_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Declaration:
    """Properties of a node's function that determine when its results are out of date.

    Attributes:
        version: Increased by hand when the code is changed to give different results.
        ignores: Arguments that do not affect the results, or their fields: ``params.workers``.
        studies_of: Arguments that are tables with ``study_id``. If given, only the volumes of
            these studies count in the arguments ``volumes`` and ``volume_index``.
        files: Lists the files that the node reads besides its inputs. Its parameters are
            arguments of the node.
        checksums: Returns SHA-256 digests of such files from an earlier run. Its parameters are
            datasets. Without it every file is hashed.
        recorded: Whether records are kept.
    """

    version: int = 1
    ignores: tuple[str, ...] = ()
    studies_of: tuple[str, ...] = ()
    files: Callable[..., Files] | None = None
    checksums: Callable[..., Checksums] | None = None
    recorded: bool = True


def result_of(**declared: Any) -> Callable[[_Function], _Function]:
    """Declare the properties of a node's function; see ``Declaration``.

    Example:
        ```python
        @result_of(version=2, ignores=("params.workers",))
        def count_slices(slice_index: pd.DataFrame, params: Counting) -> pd.DataFrame: ...
        ```
    """

    def decorate(function: _Function) -> _Function:
        setattr(function, _ATTRIBUTE, Declaration(**declared))
        return function

    return decorate


def all_but(argument: str, model: type[BaseModel], *counted: str) -> tuple[str, ...]:
    """Dotted names of the fields of a parameter that do not affect the result.

    Args:
        argument: Name of the node's argument.
        model: Its type.
        counted: Names of the fields that do affect the result.
    """
    return tuple(f"{argument}.{name}" for name in model.model_fields if name not in counted)


def named_from(folder: Path, paths: Iterable[Path]) -> dict[str, Path]:
    """Files by their path relative to a folder, which may be moved."""
    return {os.path.relpath(path, folder): path for path in paths}


def declaration_of(function: Callable[..., Any]) -> Declaration:
    """Return the declaration of a function; the default is that all inputs count."""
    declared: Declaration = getattr(function, _ATTRIBUTE, Declaration())
    return declared
