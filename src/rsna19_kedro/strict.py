"""Base class of all parameters."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Immutable parameters; an unknown key is an error that names it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
