"""Parameters of the folds pipeline."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from rsna19_kedro.contracts import N_FOLDS
from rsna19_kedro.strict import Strict

GivenColumn = Literal["fold", "sop_instance_uid", "path", "study_id", "patient_id"]


class FoldsParameters(Strict):
    """Settings of the split into folds.

    Attributes:
        n_folds: Fixed: graph, folders and tables assume five.
        seed: Seed that decides between equally good splits.
        given: CSV file with existing folds, or a folder of such files; ``None`` splits the
            patients.
        columns: Column names of these files that are not detected automatically.
        accept_leaks: Whether a patient may be in several given folds.
    """

    n_folds: Literal[5] = N_FOLDS
    seed: int = Field(default=0, ge=0)
    given: Path | None = None
    columns: dict[GivenColumn, str] = Field(default_factory=dict)
    accept_leaks: bool = False
