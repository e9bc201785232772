"""Parameters of the reporting pipeline."""

from typing import Annotated

from pydantic import Field

from rsna19_kedro.strict import Strict

Window = tuple[float, Annotated[float, Field(gt=0)]]
"""Centre and width in HU."""


class ReportingParameters(Strict):
    """Contents of the report.

    Attributes:
        calibration_bins: Bins of equal width of a calibration curve.
        bootstrap_resamples: Resamples of patients for the interval of the AUC.
        seed: Seed of the resampling.
        worst_slices: Slices shown per group.
        worst_studies: Studies listed.
        studies_by_class: Studies listed per class and end (highest and lowest loss).
        windows: Name to window centre and width in HU.
        submissions: Name to path of the Kaggle submissions, as in the catalog.
    """

    calibration_bins: int = Field(default=10, ge=2)
    bootstrap_resamples: int = Field(default=1000, ge=100)
    seed: int = 0
    worst_slices: int = Field(default=4, ge=1, le=12)
    worst_studies: int = Field(default=10, ge=1)
    studies_by_class: int = Field(default=3, ge=1)
    windows: dict[str, Window] = Field(min_length=1, max_length=4)
    submissions: dict[str, str]
