"""Parameters of the phantoms."""

from pydantic import Field

from rsna19_kedro.phantoms import PhantomSet


class PhantomParameters(PhantomSet):
    """Parameters ``phantoms``: a set of phantoms, and the number of processes.

    Attributes:
        workers: Number of processes; None uses all cores.
    """

    workers: int | None = Field(default=None, ge=1)

    def phantom_set(self) -> PhantomSet:
        """Return the parameters that determine the files."""
        return PhantomSet(**self.model_dump(exclude={"workers"}))
