"""Errors that a user can fix, and helpers for their messages.

``InputError`` is their base class.
"""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Final


class InputError(ValueError):
    """An error that the user can fix; shown without a traceback.

    The message says what is wrong and where, what was expected and what to do.
    """


class ModelError(InputError):
    """A trained model that is missing, or that does not fit the data or the configuration."""


class SourceError(InputError):
    """A download or source of studies that is missing, empty or unusable."""


class DamagedFileError(InputError):
    """A file that cannot be read or violates its format."""


class ParameterError(InputError):
    """A parameter or option that is unknown or has an impossible value."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes, the innermost last."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


_IN_NODE: Final = "In node "


def note_node(error: BaseException, node: str) -> None:
    """Note the node that raised an error; tracebacks show it too."""
    error.add_note(f"{_IN_NODE}{node}")


def node_of(error: BaseException) -> str:
    """Return the node that raised an error; empty if none did."""
    notes: list[str] = getattr(error, "__notes__", [])
    return next((note.removeprefix(_IN_NODE) for note in notes if note.startswith(_IN_NODE)), "")


def input_error(error: BaseException) -> InputError | None:
    """Return the innermost cause that the user can fix; ``None`` if there is none."""
    found = [cause for cause in causes(error) if isinstance(cause, InputError)]
    return found[-1] if found else None


def counted(number: int, one: str, several: str = "") -> str:
    """Format a count: ``1 slice``, ``2 slices``; ``several`` is an irregular plural."""
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Suggest a similar known name, with a leading space; empty if none is similar."""
    close = get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
