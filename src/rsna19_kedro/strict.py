"""Base class of all parameters, and messages about invalid ones."""

from collections.abc import Iterable, Mapping
from typing import Any, Self, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from rsna19_kedro.errors import ParameterError, did_you_mean


def invalid_parameters(lines: Iterable[str]) -> str:
    """Message about invalid parameters, from one line per key."""
    return "\n".join(
        [
            "Invalid parameters:",
            *(f"  {line}" for line in lines),
            "All parameters are documented in conf/base/parameters/. Nothing was run.",
        ]
    )


def parameter_error(name: str, error: ValidationError) -> ParameterError:
    """Error about the parameters ``name`` for the user, from that of Pydantic."""
    return ParameterError(
        invalid_parameters(
            f"{'.'.join([name, *map(str, item['loc'])])}: {item['msg']} (given: {item['input']!r})"
            for item in error.errors()
        )
    )


class Strict(BaseModel):
    """Immutable parameters; an unknown key is an error that names it and a similar known one.

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

    @model_validator(mode="wrap")
    @classmethod
    def _suggested(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(values)
        except ValidationError as error:
            details = [_detail(item, cls.model_fields) for item in error.errors()]
            raise ValidationError.from_exception_data(error.title, details) from None


def _detail(item: ErrorDetails, known: Iterable[str]) -> InitErrorDetails:
    """Copy of an error; that of an unknown key suggests a known one."""
    kind, message = item["type"], item["msg"]
    if kind == "extra_forbidden" and len(item["loc"]) == 1:
        kind = "unknown_key"
        message = f"unknown key.{did_you_mean(str(item['loc'][0]), known)}".removesuffix(".")
    # Only the context would make braces in the message special.
    custom = PydanticCustomError(kind, message)
    return InitErrorDetails(type=custom, loc=item["loc"], input=item["input"])


def _is_list(annotation: Any) -> bool:
    """Whether a field is a tuple of any length, optional or not."""
    kinds = [annotation, *get_args(annotation)]
    return any(get_origin(kind) is tuple and get_args(kind)[-1] is ... for kind in kinds)


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(","))
    return (value,) if isinstance(value, int | float) else value
