"""How the machine is used in prediction; no number of a table is meant to depend on it."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from rsna19_kedro.strict import Strict


class PredictionSettings(Strict):
    """Settings for all models alike.

    Attributes:
        precision: Arithmetic on the device; bf16 changes probabilities by about 0.001.
        accelerator: ``auto`` takes a GPU if there is one.
        batch_slices: Windows that go through the encoder together; ``None`` for 32 on a CPU
            and 64 on a GPU. What bounds the memory.
        part_studies: Studies after which what is finished is saved.
    """

    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    batch_slices: PositiveInt | None = None
    part_studies: Annotated[int, Field(ge=1)] = 16
