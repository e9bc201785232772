"""Base class of all parameters."""

from collections.abc import Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, model_validator


class Strict(BaseModel):
    """Immutable parameters; an unknown key is an error that names it.

    Fields that are tuples of any length also accept the command-line forms ``a,b`` and ``a``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        listed = {
            name: _split(values[name])
            for name, field in cls.model_fields.items()
            if name in values and _is_list(field.annotation)
        }
        return {**values, **listed}


def _is_list(annotation: Any) -> bool:
    """Whether a field is a tuple of any length, optional or not."""
    kinds = [annotation, *get_args(annotation)]
    return any(get_origin(kind) is tuple and get_args(kind)[-1] is ... for kind in kinds)


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(","))
    return (value,) if isinstance(value, int | float) else value
