"""Settings of the machine for prediction; results should not depend on them."""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, PositiveInt

from rsna19_kedro.strict import Strict

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]

PRECISIONS: Final[dict[Precision, str]] = {
    "32-true": "fp32",
    "bf16-mixed": "bf16",
    "16-mixed": "fp16",
}
"""Short names, which outputs show and the settings accept as well."""


def _whole_name(value: Any) -> Any:
    return next((name for name, short in PRECISIONS.items() if value == short), value)


class PredictionSettings(Strict):
    """Settings for all models.

    Attributes:
        precision: Precision on the device; ``auto`` is bf16 where the GPU or CPU has instructions
            for it, else fp32. How much bf16 changes probabilities:
            docs/new_study.md#speed-and-memory.
        accelerator: ``auto`` uses a GPU if there is one.
        batch_slices: Slices per batch of the encoder, which limits memory; ``None`` for 32 on a
            CPU and 64 on a GPU.
        part_studies: Number of studies after which finished predictions are saved.
    """

    precision: Annotated[Precision | Literal["auto"], BeforeValidator(_whole_name)] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    batch_slices: PositiveInt | None = None
    part_studies: Annotated[int, Field(ge=1)] = 16
