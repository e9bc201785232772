"""Parameters of the phantoms."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from rsna19_kedro.phantoms import PhantomSet
from rsna19_kedro.phantoms.plan import Layout
from rsna19_kedro.strict import Strict

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class PhantomParameters(Strict):
    """What ``parameters/phantoms.yml`` holds; see ``phantoms.PhantomSet`` for each number."""

    seed: int = Field(ge=0)
    train_studies: int = Field(ge=1)
    test_studies: int = Field(ge=0)
    studies_per_patient: float = Field(ge=1)
    slices: tuple[Annotated[int, Field(ge=2)], Annotated[int, Field(le=127)]]
    size_px: int = Field(ge=32, le=1024)
    pixel_spacing_mm: tuple[Positive, Positive]
    layout: Layout
    stage_1_test_fraction: Fraction
    positive_fraction: Fraction
    small_fraction: Fraction
    masked_fraction: Fraction
    tilted_fraction: Fraction
    uneven_fraction: Fraction
    noise_hu: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]]
    workers: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Self:
        for name in ("slices", "pixel_spacing_mm", "noise_hu"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} is [{low}, {high}]: the smaller number comes first")
        return self

    def phantom_set(self) -> PhantomSet:
        """The same without what does not change the files."""
        return PhantomSet(**self.model_dump(exclude={"workers"}))
