"""Parameters of the prediction of new studies."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, field_validator, model_validator

from rsna19_kedro.errors import ParameterError
from rsna19_kedro.strict import Strict


class NewStudyParameters(Strict):
    """Source, models and outputs of a prediction of new studies.

    Attributes:
        source: Folder, DICOM file, zip file or NIfTI file.
        models: Names of the models that take part; ``None`` as for ``find_members``.
        fold: Folds that take part; ``None`` for all.
        fast: One model, one fold, no test-time augmentation.
        include_phi: Whether outputs may name the patient and the files.
        dicom_output: Whether to write DICOM results, too.
        crop_size_px: Side of the prepared slices, as in training.
        slab_mm: Thickness of the slabs to which thin slices (spacing up to 1.5 mm) are averaged;
            0 for none.
        max_unpacked_gib: A zip file that unpacks to more is refused.
        follow_links: Whether to follow links that lead out of the source.
        detector: Public detector: folder of its files, or its name; ``None`` for trained models.
        detector_revision: Revision of a detector that is given by name.
        combine: ``mean`` averages the detector with trained models.
    """

    source: str | None = None
    models: tuple[str, ...] | None = None
    fold: tuple[int, ...] | None = None
    fast: bool = False
    include_phi: bool = False
    dicom_output: bool = False
    crop_size_px: PositiveInt = 400
    slab_mm: NonNegativeFloat = 5.0
    max_unpacked_gib: PositiveFloat = 20.0
    follow_links: bool = True
    detector: str | None = None
    detector_revision: str | None = None
    combine: Literal["mean"] | None = None

    def source_path(self) -> Path:
        """Return the path of the source.

        Raises:
            ParameterError: No source is given.
        """
        if self.source is None:
            raise ParameterError(
                "Name what to predict: --params source=PATH (a folder, a DICOM file, a zip file or "
                "a NIfTI file)."
            )
        return Path(self.source).expanduser()

    @property
    def uses_models(self) -> bool:
        """Whether trained models take part."""
        return self.detector is None or self.combine is not None

    def predictors(self) -> dict[str, Any]:
        """Return the arguments of ``Predictors.find``."""
        chosen = {"models": self.models, "folds": self.fold, "fast": self.fast}
        names = ("detector", "detector_revision", "combine")
        return chosen | {name: getattr(self, name) for name in names}

    @model_validator(mode="after")
    def _check_detector(self) -> Self:
        """Refuse parameters that have no effect."""
        if self.detector is None:
            unused = [name for name in ("detector_revision", "combine") if getattr(self, name)]
            if unused:
                raise ValueError(f"{unused[0]} is only used with detector=FOLDER")
        elif self.combine is None and (self.models or self.fold or self.fast):
            raise ValueError("models, fold and fast are only used with a detector if combine=mean")
        return self

    @field_validator("detector_revision", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        """Accept a commit of digits only."""
        return str(value) if isinstance(value, int) else value

    @field_validator("models", "fold", mode="before")
    @classmethod
    def _all(cls, value: Any) -> Any:
        """Read ``all`` as no restriction."""
        return None if value in ("all", ("all",)) else value
