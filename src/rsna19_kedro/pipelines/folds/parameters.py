"""Parameters of the folds."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from rsna19_kedro.contracts import N_FOLDS
from rsna19_kedro.strict import Strict

GivenColumn = Literal["fold", "sop_instance_uid", "path", "study_id", "patient_id"]


class FoldsParameters(Strict):
    """How patients are split.

    Attributes:
        n_folds: Fixed, because graph, folders and tables are made for five.
        seed: Number that decides between equally good splits.
        given: A CSV with folds that somebody else made, or a folder of such CSVs; ``None`` splits
            the patients here.
        columns: Names of columns of those CSVs that are not detected.
        accept_leaks: Whether given folds may hold a patient in several folds.
    """

    n_folds: Literal[5] = N_FOLDS
    seed: int = Field(default=0, ge=0)
    given: Path | None = None
    columns: dict[GivenColumn, str] = Field(default_factory=dict)
    accept_leaks: bool = False
