"""The error that is meant for the user rather than for the developer, and help with its words."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """Something that the user gave cannot be used.

    The message says what was found, where, what was expected and what to do. The command
    line prints it without a traceback.
    """


def counted(number: int, what: str) -> str:
    """``1 slice``, ``2 slices``."""
    return f"{number} {what}" + "s" * (number != 1)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint at what may have been misspelt, with a space in front; empty if nothing is near."""
    close = get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
