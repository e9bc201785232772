"""A head in HU from NIfTI, prepared like a study of DICOM."""

from pathlib import Path

import nibabel
import numpy as np

from rsna19_kedro.ct.crop import crop_head
from rsna19_kedro.errors import DamagedFileError, SourceError


def read_nifti(path: Path, size_px: int) -> np.ndarray:
    """Read a head in HU from NIfTI, cropped round its centre of mass like a prepared study.

    Args:
        path: A 3D file with HU and an affine; its axes may point anywhere.
        size_px: Side of the crop, in pixels.

    Returns:
        ``(S, size_px, size_px)`` int16 from feet to head; rows from front to back, columns
        from the patient's right to left.

    Raises:
        DamagedFileError: Not readable as NIfTI.
        SourceError: Not 3D, or no values that could be HU.
    """
    try:
        image = nibabel.as_closest_canonical(nibabel.load(path))
        values = np.asarray(image.get_fdata(dtype=np.float32))
    except Exception as error:  # nibabel lets all sorts through on a damaged file
        raise DamagedFileError(f"{path} is no readable NIfTI file: {error}") from error
    if values.ndim != 3:
        raise SourceError(f"{path} has {values.ndim} axes; a head in HU has three.")
    if not (np.isfinite(values).all() and values.min() < -300 and values.max() < 32767):
        raise SourceError(
            f"{path} holds values from {values.min():g} to {values.max():g}, which are not HU "
            "(air is about -1000). Convert it to HU first."
        )
    # Canonical axes point to the patient's right, front and head.
    hu = np.clip(values, -1024, 32767).astype(np.int16).transpose(2, 1, 0)[:, ::-1, ::-1]
    return crop_head(hu, size_px)
