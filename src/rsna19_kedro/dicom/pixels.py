"""From a DICOM file to Hounsfield units."""

from pathlib import Path
from typing import Final

import numpy as np
from pydicom import Dataset, dcmread

from rsna19_kedro.dicom.headers import default_syntax
from rsna19_kedro.dicom.quiet import quiet_pydicom
from rsna19_kedro.errors import DamagedFileError

WRAP_MODULO: Final = 4096
WRAP_INTERCEPT: Final = -1000
_UNREPAIRED_INTERCEPT_ABOVE: Final = -100
_INT16: Final = np.iinfo(np.int16)


def read_hu(path: Path) -> np.ndarray:
    """Decode one CT slice.

    Every transfer syntax that pydicom knows is read; JPEG, JPEG-LS and JPEG 2000 are decoded
    by pylibjpeg with its libjpeg and openjpeg plugins. Values are raw * RescaleSlope
    (0028,1053) + RescaleIntercept (0028,1052), after the repair of a 12-bit wrap-around.

    Args:
        path: DICOM file; preamble and file meta group may be missing.

    Returns:
        (H, W) int16 HU, as in the file: padding below -1024 is left as it is.

    Raises:
        DamagedFileError: The file is missing, is no DICOM, holds no pixels, several frames or
            colours, or its pixel data are cut off or cannot be decoded.
    """
    quiet_pydicom()
    try:
        dataset = dcmread(path, force=True)
    except Exception as error:  # pydicom lets all sorts through on a malformed file
        raise DamagedFileError(f"{path} cannot be read as DICOM: {error}") from error
    _check_image(dataset, path)
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise DamagedFileError(
            f"{path} is written in the transfer syntax {syntax}, which is not one of DICOM's: its "
            "pixels cannot be read safely. Export it anew as Explicit VR Little Endian."
        )
    try:
        stored = dataset.pixel_array
    except Exception as error:  # decoders raise what they like
        reason = " ".join(str(error).split())[:300]
        raise DamagedFileError(
            f"The pixel data of {path} cannot be decoded: {reason}. Expected "
            f"{dataset.Rows} x {dataset.Columns} pixels of {dataset.BitsAllocated} bits, as "
            f"{syntax.name}. Get a whole copy of the file (where all files of a study are like "
            "this, export it anew as Explicit VR Little Endian), or leave it out."
        ) from error
    return to_hu(
        stored,
        bits_stored=int(dataset.get("BitsStored") or dataset.BitsAllocated),
        signed=bool(dataset.get("PixelRepresentation")),
        slope=_number(dataset, "RescaleSlope", 1.0, path),
        intercept=_number(dataset, "RescaleIntercept", 0.0, path),
    )


def to_hu(
    stored: np.ndarray, *, bits_stored: int, signed: bool, slope: float, intercept: float
) -> np.ndarray:
    """Rescale stored values to HU, undoing the 12-bit wrap-around of some files.

    Args:
        stored: (H, W) integers; may be changed in place.
        bits_stored: BitsStored (0028,0101).
        signed: Whether PixelRepresentation (0028,0103) is 1.
        slope: RescaleSlope.
        intercept: RescaleIntercept.

    Returns:
        (H, W) int16 HU; what does not fit is clipped.
    """
    if is_wrapped(bits_stored=bits_stored, signed=signed, intercept=intercept):
        # Values below zero were stored modulo 4096 and so stand at the top of the range.
        stored = (stored + (-WRAP_INTERCEPT)) % WRAP_MODULO
        intercept = WRAP_INTERCEPT
    if slope == 1 and intercept == int(intercept):
        low, high = int(stored.min()) + int(intercept), int(stored.max()) + int(intercept)
        if _INT16.min <= low and high <= _INT16.max:
            # Modulo 2**16 the sum is right whatever the type of the stored values.
            hu = stored.astype(np.uint16, copy=False) + np.uint16(int(intercept) % 2**16)
            return hu.view(np.int16)
    exact = np.rint(stored * float(slope) + float(intercept))
    return np.clip(exact, _INT16.min, _INT16.max).astype(np.int16)


def is_wrapped(*, bits_stored: int, signed: bool, intercept: float) -> bool:
    """Tell files whose values below zero have wrapped around.

    12 unsigned bits hold 0..4095: with an intercept near zero nothing below 0 HU could be
    stored, air included, so the file holds raw - 1000 modulo 4096 in truth.
    """
    return bits_stored == 12 and not signed and intercept > _UNREPAIRED_INTERCEPT_ABOVE


def _check_image(dataset: Dataset, path: Path) -> None:
    missing = [name for name in ("Rows", "Columns", "BitsAllocated") if not dataset.get(name)]
    frames = dataset.get("NumberOfFrames") or 1
    samples = dataset.get("SamplesPerPixel") or 1
    kind = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    if "PixelData" not in dataset:
        raise DamagedFileError(f"{path} holds no pixel data; expected one CT slice.")
    if missing:
        raise DamagedFileError(f"{path} lacks {', '.join(missing)}; expected one CT slice.")
    if int(frames) > 1:
        raise DamagedFileError(
            f"{path} holds {frames} frames; expected one CT slice. Convert it to one file a slice."
        )
    if int(samples) != 1 or not kind.startswith("MONOCHROME"):
        raise DamagedFileError(
            f"{path} is an image of {samples} samples a pixel, {kind}; expected one CT slice in "
            "grey values."
        )
    defaults = {"SamplesPerPixel": 1, "PixelRepresentation": 0, "BitsStored": dataset.BitsAllocated}
    for keyword, value in {**defaults, "PhotometricInterpretation": "MONOCHROME2"}.items():
        dataset.setdefault(keyword, value)
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = default_syntax(dataset)


def _number(dataset: Dataset, keyword: str, default: float, path: Path) -> float:
    value = dataset.get(keyword)
    if value is None or value == "":
        return default
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise DamagedFileError(f"{path}: {keyword} is {value!r}; expected one number.") from error
