"""Parameters of the phantoms."""

from pydantic import Field

from rsna19_kedro.phantoms import PhantomSet


class PhantomParameters(PhantomSet):
    """What ``parameters/phantoms.yml`` holds: a set, and what does not change its files.

    Attributes:
        workers: Processes that make studies; None takes all cores.
    """

    workers: int | None = Field(default=None, ge=1)

    def phantom_set(self) -> PhantomSet:
        """The set alone."""
        return PhantomSet(**self.model_dump(exclude={"workers"}))
