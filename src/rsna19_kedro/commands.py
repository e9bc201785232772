"""Commands that messages suggest, with the environment and parameters of the session."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class SessionOptions:
    """Options that a suggested command takes over from the session.

    Attributes:
        env: Environment; ``None`` for the default.
        params: Keys and values of ``--params``.
    """

    env: str | None = None
    params: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, env: str | None, params: Mapping[str, Any]) -> Self:
        """Options of a session with these runtime parameters."""
        return cls(env, tuple(_flat(params)))


_session = SessionOptions()


def session_options() -> SessionOptions:
    """Options of the newest session of this process."""
    return _session


def note_session(options: SessionOptions) -> None:
    """Note the options of a session; done by the context, and by workers for theirs."""
    global _session  # noqa: PLW0603 - the scope of a session is per process too
    _session = options


def kedro_run(*options: str, **params: object) -> str:
    """Return the command ``kedro run`` in the environment of this session.

    Args:
        options: Further options.
        params: Values that replace those of the session.
    """
    values = dict(_session.params) | dict(_flat(params))
    words = ["--env", _session.env] if _session.env else []
    words += options
    if values:
        words += ["--params", ",".join(f"{key}={value}" for key, value in values.items())]
    return shlex.join(["kedro", "run", *words])


def _flat(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{key}", ",".join(map(str, value))
        elif value is None or isinstance(value, bool):
            yield f"{prefix}{key}", "null" if value is None else str(value).lower()
        else:
            yield f"{prefix}{key}", str(value)
