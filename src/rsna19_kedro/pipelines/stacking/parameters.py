"""Parameters of the second level."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rsna19_kedro.ensemble.boosting import BoostingSettings, CatBoostCandidate
from rsna19_kedro.ensemble.candidate import Candidate
from rsna19_kedro.ensemble.combination import MeanCandidate, SimplexCandidate
from rsna19_kedro.ensemble.judge import REFERENCE


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MeanParameters(_Strict):
    """Plain mean of the models."""

    kind: Literal["mean"]

    def build(self, seed: int) -> Candidate:
        """Make a candidate that is not fitted yet."""
        return MeanCandidate()


class SimplexParameters(_Strict):
    """Convex combination of the window's predictions.

    Attributes:
        radius: Slices on either side.
        beyond: ``zeros`` or ``edge`` beyond the ends of a study.
        eps: Predictions stay this far from 0 and 1.
        gap: Certified distance to the lowest loss.
    """

    kind: Literal["simplex"] = "simplex"
    radius: int = Field(2, ge=0, le=20)
    beyond: Literal["zeros", "edge"] = "zeros"
    eps: float = Field(1e-5, gt=0, lt=0.01)
    gap: float = Field(1e-6, gt=0)

    def build(self, seed: int) -> SimplexCandidate:
        """Make a candidate that is not fitted yet; nothing in it is random."""
        return SimplexCandidate(self.radius, self.beyond, self.eps, self.gap)


class CatBoostParameters(_Strict):
    """Boosted trees on the window's predictions; see ``BoostingSettings``."""

    kind: Literal["catboost"]
    radius: int = Field(2, ge=0, le=20)
    beyond: Literal["zeros", "edge"] = "zeros"
    iterations: int = Field(400, ge=1)
    learning_rate: float = Field(0.15, gt=0, le=1)
    depth: int = Field(3, ge=1, le=10)
    bins: int = Field(32, ge=2, le=254)
    l2: float = Field(6.0, ge=0)
    patience: int = Field(25, ge=1)
    inner_folds: int = Field(3, ge=2)
    threads: int | None = Field(None, ge=1)

    def build(self, seed: int) -> Candidate:
        """Make a candidate that is not fitted yet."""
        settings = self.model_dump(exclude={"kind"})
        return CatBoostCandidate(BoostingSettings(**settings, seed=seed))


CandidateParameters = Annotated[
    MeanParameters | SimplexParameters | CatBoostParameters, Field(discriminator="kind")
]


class StackingParameters(_Strict):
    """What is tried as a second level and how it is judged.

    Attributes:
        candidates: Settings by name; one of them is the plain mean, named ``mean``.
        resamples: Bootstrap samples of patients for the intervals.
        seed: Seed of inner folds, boosting and bootstrap.
        clip_average: Clipping of the plain average's submission (reference: 1e-6).
        clip_stacked: Clipping of the second level's submission (reference: 1e-5).
        workers: Processes that read volumes for the histogram baseline; null takes all.
    """

    candidates: dict[str, CandidateParameters]
    resamples: int = Field(1000, ge=100)
    seed: int = 0
    clip_average: float = Field(1e-6, gt=0, lt=0.5)
    clip_stacked: float = Field(1e-5, gt=0, lt=0.5)
    workers: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _mean_is_there(self) -> Self:
        mean = self.candidates.get(REFERENCE)
        if not isinstance(mean, MeanParameters):
            raise ValueError(
                f"stacking.candidates needs an entry {REFERENCE!r} of kind mean: "
                "the others are compared with it"
            )
        return self
