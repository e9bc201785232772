"""Parameters of the second level."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Self

from pydantic import Field, model_validator

from rsna19_kedro.ensemble.averages import GaussianSettings, WeightedMeanSettings
from rsna19_kedro.ensemble.blend import BlendCandidate, BlendSettings
from rsna19_kedro.ensemble.boosting import BoostingSettings
from rsna19_kedro.ensemble.candidate import Candidate, Floats
from rsna19_kedro.ensemble.combination import MeanSettings, SimplexSettings
from rsna19_kedro.ensemble.correction import CorrectionKind
from rsna19_kedro.ensemble.nested import INNER_CHOICE, PREVALENCE, REFERENCE
from rsna19_kedro.ensemble.settings import MLPSettings, SequenceSettings
from rsna19_kedro.strict import Strict

HISTOGRAM = "hu_histogram"
"""Row of the baseline that no network takes part in."""

_RESERVED = (INNER_CHOICE, PREVALENCE, HISTOGRAM)

CandidateSettings = Annotated[
    MeanSettings
    | WeightedMeanSettings
    | GaussianSettings
    | SimplexSettings
    | BoostingSettings
    | MLPSettings
    | SequenceSettings
    | BlendSettings,
    Field(discriminator="kind"),
]


class StackingParameters(Strict):
    """What is tried as a second level and how it is judged.

    Attributes:
        candidates: Settings by name; one of them is the plain mean, named ``mean``.
        corrections: What may be done to the chosen candidate's predictions, if the inner
            folds say that it helps: ``temperature``, ``beta`` (one of them at most is
            taken), ``any`` (never below the likeliest type).
        resamples: Bootstrap samples of patients for the intervals.
        seed: Seed of inner folds, boosting, networks and bootstrap.
        clip_average: Clipping of the plain average's submission (reference: 1e-6).
        clip_stacked: Clipping of the second level's submission (reference: 1e-5).
        workers: Processes that read volumes for the histogram baseline; null takes all.
    """

    candidates: dict[str, CandidateSettings]
    corrections: tuple[CorrectionKind, ...] = ("temperature", "beta", "any")
    resamples: int = Field(1000, ge=100)
    seed: int = 0
    clip_average: float = Field(1e-6, gt=0, lt=0.5)
    clip_stacked: float = Field(1e-5, gt=0, lt=0.5)
    workers: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        if not isinstance(self.candidates.get(REFERENCE), MeanSettings):
            raise ValueError(
                f"stacking.candidates needs an entry {REFERENCE!r} of kind mean: "
                "the others are compared with it"
            )
        taken = [name for name in self.candidates if name in _RESERVED]
        if taken:
            raise ValueError(f"stacking.candidates: {taken[0]!r} is the name of another row")
        base = self.builders()
        for name, members in self.blends().items():
            unknown = [member for member in members if member not in base]
            if unknown:
                raise ValueError(
                    f"stacking.candidates.{name}: no candidate {unknown[0]!r} that is not a "
                    f"blend itself; there are {', '.join(base)}"
                )
        return self

    def builders(self) -> dict[str, Callable[[], Candidate]]:
        """What makes a fresh candidate, by name; blends are not among them."""
        return {
            name: partial(settings.build, self.seed)
            for name, settings in self.candidates.items()
            if not isinstance(settings, BlendSettings)
        }

    def blends(self) -> dict[str, tuple[str, ...]]:
        """Members by name of the blend."""
        every = tuple(self.builders())
        return {
            name: every if settings.members is None else settings.members
            for name, settings in self.candidates.items()
            if isinstance(settings, BlendSettings)
        }

    def build(self, name: str, blend_weights: Floats | None = None) -> Candidate:
        """Make a candidate that is not fitted yet; a blend with weights that are known."""
        settings = self.candidates[name]
        if not isinstance(settings, BlendSettings):
            return settings.build(self.seed)
        builders = self.builders()
        members = {member: builders[member] for member in self.blends()[name]}
        return BlendCandidate(members, settings.inner_folds, self.seed, blend_weights)
