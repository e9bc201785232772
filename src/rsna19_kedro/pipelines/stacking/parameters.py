"""Parameters of the second level."""

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from rsna19_kedro.ensemble.blend import blend_members
from rsna19_kedro.ensemble.correction import CorrectionKind
from rsna19_kedro.ensemble.registry import read_settings
from rsna19_kedro.ensemble.settings import CandidateSettings
from rsna19_kedro.evaluation.baselines import MEAN, RESERVED
from rsna19_kedro.strict import Strict

AnySettings = Annotated[SerializeAsAny[CandidateSettings], BeforeValidator(read_settings)]


class StackingParameters(Strict):
    """Second-level candidates and how they are scored.

    Attributes:
        candidates: Settings by name, including the plain mean, named ``mean``.
        corrections: Corrections of the chosen candidate's predictions, each applied if it
            lowers the loss on the inner folds: ``temperature`` or ``beta`` (at most one of
            them), ``any`` (raised to the highest type).
        resamples: Bootstrap samples of patients for the intervals.
        seed: Seed of inner folds, boosting, networks and bootstrap.
        clip_average: Clipping of the plain average's submission (reference: 1e-6).
        clip_stacked: Clipping of the second level's submission (reference: 1e-5).
        workers: Processes that read volumes for the histogram baseline; null uses all cores.
    """

    candidates: dict[str, AnySettings]
    corrections: tuple[CorrectionKind, ...] = ("temperature", "beta", "any")
    resamples: int = Field(1000, ge=100)
    seed: int = 0
    clip_average: float = Field(1e-6, gt=0, lt=0.5)
    clip_stacked: float = Field(1e-5, gt=0, lt=0.5)
    workers: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        kinds = {name: settings.kind for name, settings in self.candidates.items()}
        if kinds.get(MEAN) != "mean":
            raise ValueError(
                f"stacking.candidates needs an entry {MEAN!r} of kind mean: "
                "the other candidates are compared with it"
            )
        for name, kind in kinds.items():
            if name in RESERVED:
                raise ValueError(f"stacking.candidates: the name {name!r} is reserved")
            if kind == "corrected":
                raise ValueError(f"stacking.candidates.{name}: use stacking.corrections instead")
        blends = blend_members(self.candidates)
        base = [name for name in kinds if name not in blends]
        for name, members in blends.items():
            unknown = [member for member in members if member not in base]
            if unknown:
                raise ValueError(
                    f"stacking.candidates.{name}: {unknown[0]!r} is not a candidate that can "
                    f"be blended; choose from {', '.join(base)}"
                )
        return self
