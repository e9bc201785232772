"""Settings of the machine for prediction; results should not depend on them."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from rsna19_kedro.strict import Strict


class PredictionSettings(Strict):
    """Settings for all models.

    Attributes:
        precision: Precision on the device; bf16 changes probabilities by up to about
            0.004 (docs/full_job.md#4-how-long-it-takes).
        accelerator: ``auto`` uses a GPU if there is one.
        batch_slices: Slices per batch of the encoder, which limits memory; ``None`` for 32 on a
            CPU and 64 on a GPU.
        part_studies: Number of studies after which finished predictions are saved.
    """

    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    batch_slices: PositiveInt | None = None
    part_studies: Annotated[int, Field(ge=1)] = 16
