"""Parameters of volume preparation."""

from typing import Literal

from pydantic import Field

from rsna19_kedro.ct.lut import REFERENCE_KNOTS
from rsna19_kedro.strict import Strict


class LutParameters(Strict):
    """Look-up table from HU to network input.

    Attributes:
        kind: ``knots`` uses the curve below, ``equalise`` fits one to the training volumes.
        knots: Pairs (HU, value) from -400 to 1000 HU, linear in between.
        sample_slices: Number of training slices to which the curve is fitted (it is always
            fitted, for the figure).
        seed: Random seed of that sample.
    """

    kind: Literal["knots", "equalise"] = "knots"
    knots: tuple[tuple[float, float], ...] = REFERENCE_KNOTS
    sample_slices: int = Field(default=500, ge=1)
    seed: int = 2019


class PreviewParameters(Strict):
    """Preview images.

    Attributes:
        studies: Number of training studies that are drawn, evenly spaced; 0 for none.
        window_centre_hu: Centre of the display window.
        window_width_hu: Width of the display window.
    """

    studies: int = Field(default=20, ge=0)
    window_centre_hu: float = 40.0
    window_width_hu: float = Field(default=120.0, gt=0)


class MaskParameters(Strict):
    """Segmentation masks and their conversion to labels.

    Attributes:
        folder: Folder of ``<study_id>.nii.gz`` in the raw data.
        min_voxels: Minimum number of voxels of a class for a positive slice.
    """

    folder: str = "masks"
    min_voxels: int = Field(default=4, ge=1)


class VolumePrepParameters(Strict):
    """Volume preparation.

    Attributes:
        crop_size_px: Side of the square crop of each slice.
        workers: Processes that prepare studies; None uses all cores.
        hu_lut: The look-up table.
        previews: Preview images.
        masks: Segmentation masks.
    """

    crop_size_px: int = Field(default=400, ge=16)
    workers: int | None = Field(default=None, ge=1)
    hu_lut: LutParameters = LutParameters()
    previews: PreviewParameters = PreviewParameters()
    masks: MaskParameters = MaskParameters()
