"""The text of ``--params``."""

import re
from typing import Any

import click
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

_KEY = re.compile(r"^\s*[A-Za-z_][\w.\-]*\s*[:=]")
_COLON_KEY = re.compile(r"^(\s*[A-Za-z_][\w.\-]*)\s*:")


def normalise_params(text: str) -> str:
    """Turn ``fold:2`` into ``fold=2`` and keep lists of values together.

    Args:
        text: Value of ``--params``: items separated by commas, each ``key:value`` or
            ``key=value``; an item without a key belongs to the value before it, so that
            ``models:a,b`` and ``fold:0,2`` are one item each.

    Returns:
        The items as ``key=value``, separated by newlines.
    """
    items: list[str] = []
    for part in text.split(","):
        if _KEY.match(part) or not items:
            items.append(_COLON_KEY.sub(r"\1=", part, count=1).strip())
        elif part.strip():
            items[-1] += f",{part.strip()}"
    return "\n".join(item for item in items if item)


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
        parsed = OmegaConf.to_container(OmegaConf.from_dotlist(items))
    except (YAMLError, OmegaConfBaseException) as error:
        raise click.UsageError(f"--params {value!r} cannot be read: {error}", ctx) from error
    assert isinstance(parsed, dict)
    return {str(key): content for key, content in parsed.items()}
