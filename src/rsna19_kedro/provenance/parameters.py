"""Parameters as flat dictionaries with dotted names."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel


def flatten(name: str, value: Any, ignored: Iterable[str] = ()) -> dict[str, Any]:
    """Return the leaves of a parameter by dotted name, such as ``folds.seed``.

    Args:
        name: Name of the parameter.
        value: A value that JSON supports, or a Pydantic model.
        ignored: Dotted names below ``name``, such as ``workers``, to leave out.
    """
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    left_out = {f"{name}.{field}" for field in ignored}
    return dict(_leaves(name, plain, left_out))


def _leaves(name: str, value: Any, left_out: set[str]) -> Iterable[tuple[str, Any]]:
    if name in left_out:
        return
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from _leaves(f"{name}.{key}", part, left_out)
    else:
        yield name, value
