"""What a node's function says of itself: its version, and which of its inputs count."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel

Files = Mapping[str, Path]
"""Files by the name under which they are recorded; a relative one survives a move of the data."""

Checksums = Mapping[str, tuple[tuple[str, ...], str]]
"""By the name of a file: the names of the files that were hashed together, and their SHA-256."""

_ATTRIBUTE: Final = "result_of"
_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Declaration:
    """What decides on a node's results beside its name.

    Attributes:
        version: Raised by hand when the code is meant to give other results.
        ignores: Arguments that do not count, or fields of them: ``params.workers``.
        studies_of: Arguments that hold tables with ``study_id``. If there are any, the arguments
            ``volumes`` and ``volume_index`` count only with the volumes of these studies.
        files: Gives the files that the node reads beside its inputs. Its parameters are
            arguments of the node.
        checksums: Gives SHA-256 digests of such files that an earlier run noted. Its parameters
            are datasets. Without it every file is hashed.
        recorded: Whether records are kept at all.
    """

    version: int = 1
    ignores: tuple[str, ...] = ()
    studies_of: tuple[str, ...] = ()
    files: Callable[..., Files] | None = None
    checksums: Callable[..., Checksums] | None = None
    recorded: bool = True


def result_of(**declared: Any) -> Callable[[_Function], _Function]:
    """Declare what decides on the results of a node's function; see ``Declaration``.

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
    """Dotted names of the fields of a parameter that do not count, given those that do.

    Args:
        argument: Name of the node's argument.
        model: Its type.
        counted: Names of the fields that decide on the result.
    """
    return tuple(f"{argument}.{name}" for name in model.model_fields if name not in counted)


def named_from(folder: Path, paths: Iterable[Path]) -> dict[str, Path]:
    """Files by their path relative to a folder, so that moving it changes nothing."""
    return {os.path.relpath(path, folder): path for path in paths}


def declaration_of(function: Callable[..., Any]) -> Declaration:
    """The declaration of a function; without one everything counts."""
    declared: Declaration = getattr(function, _ATTRIBUTE, Declaration())
    return declared
