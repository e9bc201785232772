"""Parsing of ``--params``."""

import re
from pathlib import Path
from typing import Any

import click
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

_KEY = re.compile(r"^\s*[A-Za-z_][\w.\-]*\s*[:=]")
_PATH = re.compile(r"/|~[/\w]|\.{1,2}/|[A-Za-z]:[\\/]")
_COLON_KEY = re.compile(r"^(\s*[A-Za-z_][\w.\-]*)\s*:")


def normalise_params(text: str) -> str:
    """Turn ``fold:2`` into ``fold=2`` and keep lists of values together.

    Args:
        text: Value of ``--params``: items separated by commas, each ``key:value`` or
            ``key=value``. An item without a key belongs to the previous value, so
            ``models:a,b`` and ``fold:0,2`` are one item each.

    Returns:
        The items as ``key=value``, separated by newlines.
    """
    items: list[str] = []
    parts = text.split(",")
    while parts:
        length = _parts_of_path(items[-1], parts) if items else 0
        if length:
            items[-1] = ",".join([items[-1], *parts[:length]])
            parts = parts[length:]
            continue
        part = parts.pop(0)
        if _KEY.match(part) or not items:
            items.append(_COLON_KEY.sub(r"\1=", part, count=1).strip())
        elif part.strip():
            items[-1] += f",{part.strip()}"
    return "\n".join(item for item in items if item)


def _parts_of_path(item: str, parts: list[str]) -> int:
    """Number of following parts that belong to the path in an item, because that path exists.

    For example, ``source=/ct/a,b=1`` is one item if the folder ``/ct/a,b=1`` exists.
    """
    value = item.partition("=")[2]
    if not _PATH.match(value):
        return 0
    paths = (",".join([value, *parts[:length]]) for length in range(1, len(parts) + 1))
    existing = [length for length, path in enumerate(paths, 1) if _exists(path)]
    return max(existing, default=0)


def _exists(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, RuntimeError):  # The name is too long, or the user of ~ does not exist.
        return False


def _quoted(item: str) -> str:
    """Quote the value of an item if it is a path, so that YAML keeps every character."""
    key, _, value = item.partition("=")
    if not _PATH.match(value) or value[0] in "'\"":
        return item
    escaped = value.replace("'", "''")
    return f"{key}='{escaped}'"


def parse_params(value: str, ctx: click.Context | None = None) -> dict[str, Any]:
    """Parse the text of ``--params``; see ``normalise_params``.

    Raises:
        UsageError: An item is not of the form key:value.
    """
    items = normalise_params(value).splitlines()
    for item in items:
        key, equals, _ = item.partition("=")
        if not key.strip() or not equals:
            raise click.UsageError(f"--params: {item!r} is not of the form key:value.", ctx)
    try:
        parsed = OmegaConf.to_container(OmegaConf.from_dotlist([_quoted(item) for item in items]))
    except (YAMLError, OmegaConfBaseException) as error:
        raise click.UsageError(f"--params {value!r} cannot be read: {error}", ctx) from error
    assert isinstance(parsed, dict)
    return {str(key): content for key, content in parsed.items()}
