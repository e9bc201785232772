"""Parameters of the preparation of volumes."""

from typing import Literal

from pydantic import Field

from rsna19_kedro.ct.lut import REFERENCE_KNOTS
from rsna19_kedro.strict import Strict


class LutParameters(Strict):
    """How HU become the network's input.

    Attributes:
        kind: ``knots`` takes the curve below, ``equalise`` fits one to the training volumes.
        knots: Pairs (HU, value) from -400 to 1000 HU, linear in between.
        sample_slices: Training slices that the fitted curve (also drawn beside the other) is
            made from.
        seed: Start of the draw of that sample.
    """

    kind: Literal["knots", "equalise"] = "knots"
    knots: tuple[tuple[float, float], ...] = REFERENCE_KNOTS
    sample_slices: int = Field(default=500, ge=1)
    seed: int = 2019


class PreviewParameters(Strict):
    """Which slices are drawn as pictures.

    Attributes:
        studies: Training studies that are drawn, spread evenly over all; 0 for none.
        window_centre_hu: Centre of the display window.
        window_width_hu: Width of the display window.
    """

    studies: int = Field(default=20, ge=0)
    window_centre_hu: float = 40.0
    window_width_hu: float = Field(default=120.0, gt=0)


class MaskParameters(Strict):
    """Where segmentation masks are and how they become labels.

    Attributes:
        folder: Folder of ``<study_id>.nii.gz`` within the raw data.
        min_voxels: A class is present on a slice when at least so many voxels carry it.
    """

    folder: str = "masks"
    min_voxels: int = Field(default=4, ge=1)


class VolumePrepParameters(Strict):
    """How volumes are prepared.

    Attributes:
        crop_size_px: Side of the square that is kept of each slice.
        workers: Processes that prepare studies; None takes all cores.
        hu_lut: The look-up table.
        previews: Pictures for browsing.
        masks: Segmentation masks.
    """

    crop_size_px: int = Field(default=400, ge=16)
    workers: int | None = Field(default=None, ge=1)
    hu_lut: LutParameters = LutParameters()
    previews: PreviewParameters = PreviewParameters()
    masks: MaskParameters = MaskParameters()
