"""Parameters of the prediction of new studies."""

from pathlib import Path
from typing import Any

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, field_validator

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

    @field_validator("models", "fold", mode="before")
    @classmethod
    def _all(cls, value: Any) -> Any:
        """Read ``all`` as no restriction."""
        return None if value in ("all", ("all",)) else value
