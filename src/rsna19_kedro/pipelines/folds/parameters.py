"""Parameters of the folds."""

from typing import Literal

from pydantic import Field

from rsna19_kedro.contracts import N_FOLDS
from rsna19_kedro.strict import Strict


class FoldsParameters(Strict):
    """How patients are split.

    Attributes:
        n_folds: Fixed, because graph, folders and tables are made for five.
        seed: Number that decides between equally good splits.
    """

    n_folds: Literal[5] = N_FOLDS
    seed: int = Field(default=0, ge=0)
