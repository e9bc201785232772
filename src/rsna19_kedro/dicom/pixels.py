"""Decoding of DICOM images to Hounsfield units."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import libjpeg.utils as libjpeg
import numpy as np
import openjpeg.utils as openjpeg
from pydicom import Dataset, dcmread
from pydicom.encaps import get_frame
from pydicom.pixels import pixel_array
from pydicom.uid import JPEG2000TransferSyntaxes, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes
from scipy import ndimage

from rsna19_kedro.ct.alignment import FLOOR_HU
from rsna19_kedro.dicom.frames import split_frames
from rsna19_kedro.dicom.headers import default_syntax, spelt
from rsna19_kedro.dicom.numbers import parse_numbers
from rsna19_kedro.dicom.quiet import quiet_pydicom
from rsna19_kedro.errors import DamagedFileError

WRAP_MODULO: Final = 4096
WRAP_INTERCEPT: Final = -1000
_UNREPAIRED_INTERCEPT_ABOVE: Final = -100
_NOTHING_NEGATIVE_BELOW: Final = -500
"""With an intercept below this, stored CT values are positive even if declared as signed."""
_INT16: Final = np.iinfo(np.int16)

MAX_PIXELS: Final = 8192 * 8192
"""Larger images are refused: they are not CT slices and could exhaust the memory."""

_CODED_SIZE: Final[dict[str, Callable[[bytes], dict[str, Any]]]] = {
    **dict.fromkeys(JPEG2000TransferSyntaxes, openjpeg.get_parameters),
    **dict.fromkeys((*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes), libjpeg.get_parameters),
}
"""Functions that read the size of compressed pixels, by transfer syntax."""


def read_hu(path: Path, frame: int | None = None) -> np.ndarray:
    """Decode one CT slice.

    All transfer syntaxes that pydicom knows are supported; JPEG, JPEG-LS and JPEG 2000 are
    decoded by pylibjpeg with its libjpeg and openjpeg plugins. Values are raw * RescaleSlope
    (0028,1053) + RescaleIntercept (0028,1052), after the repair of a 12-bit wrap-around. Bits
    outside BitsStored are ignored; padding becomes air.

    Args:
        path: DICOM file; preamble and file meta group may be missing.
        frame: Number of the frame of an enhanced (multi-frame) file, from 0.

    Returns:
        (H, W) int16 HU, as in the file; padding below -1024 is not clipped.

    Raises:
        DamagedFileError: The file is missing or not DICOM, contains no pixels, several frames or
            colours, or its pixel data are truncated or cannot be decoded.
    """
    quiet_pydicom()
    try:
        return _read(path, frame)
    except DamagedFileError:
        raise
    except Exception as error:  # A malformed file makes pydicom raise many exception types.
        raise DamagedFileError(f"{path} cannot be read as DICOM: {error}") from error


def _read(path: Path, frame: int | None) -> np.ndarray:
    dataset = dcmread(path, force=True)
    _check_image(dataset, path, frame)
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise DamagedFileError(
            f"{path} has the transfer syntax {syntax}, which is not a standard one: its "
            "pixels cannot be read safely. Export it again as Explicit VR Little Endian."
        )
    _check_coded_size(dataset, path, frame or 0)
    try:
        # pydicom's correction of unused bits relies on HighBit and the sign, often wrong.
        stored = pixel_array(dataset, index=frame, correct_unused_bits=False)
    except Exception as error:  # Decoders raise many exception types.
        reason = " ".join(str(error).split())[:300]
        raise DamagedFileError(
            f"The pixel data of {path} cannot be decoded: {reason}. Expected "
            f"{dataset.Rows} x {dataset.Columns} pixels of {dataset.BitsAllocated} bits, as "
            f"{syntax.name}. Get an intact copy of the file or remove it; if all files of the "
            "study fail, export the study again as Explicit VR Little Endian."
        ) from error
    header = dataset if frame is None else split_frames(dataset)[frame]
    bits = int(dataset.get("BitsStored") or dataset.BitsAllocated)
    signed = bool(dataset.get("PixelRepresentation"))
    slope = _number(header, "RescaleSlope", 1.0, path)
    intercept = _number(header, "RescaleIntercept", 0.0, path)
    padding = padding_mask(stored, header)
    stored = without_unused_bits(
        stored,
        bits_stored=bits,
        high_bit=int(dataset.get("HighBit", bits - 1)),
        signed=signed,
        intercept=intercept,
    )
    hu = to_hu(stored, bits_stored=bits, signed=signed, slope=slope, intercept=intercept)
    if padding is not None:
        hu[padding] = FLOOR_HU
    return hu


def without_unused_bits(
    stored: np.ndarray, *, bits_stored: int, high_bit: int, signed: bool, intercept: float
) -> np.ndarray:
    """Keep the used bits of the stored values, and extend their sign.

    Bits above HighBit (0028,0102) may contain overlays, the sign, or remainders of a codec.

    Args:
        stored: (H, W) integers.
        bits_stored: BitsStored (0028,0101).
        high_bit: HighBit; the lowest used bit is ``high_bit - bits_stored + 1``.
        signed: Whether PixelRepresentation (0028,0103) is 1.
        intercept: RescaleIntercept. If it is near -1024, only padding is negative, and scanners
            that declare such values as signed may still fill the unused bits with zeros.

    Returns:
        (H, W); the input array itself if no unused bit is set.
    """
    low = max(high_bit - bits_stored + 1, 0)
    if low == 0 and bits_stored >= 8 * stored.dtype.itemsize:
        return stored
    half, full = 2 ** (bits_stored - 1), 2**bits_stored
    most = half - 1 if signed and intercept > _NOTHING_NEGATIVE_BELOW else full - 1
    if low == 0 and stored.min() >= (-half if signed else 0) and stored.max() <= most:
        return stored
    values = (stored.astype(np.int32) >> low) & (full - 1)
    return np.where(values >= half, values - full, values) if signed else values


def padding_mask(stored: np.ndarray, header: Dataset) -> np.ndarray | None:
    """Find the padding around the circular field of view.

    PixelPaddingValue (0028,0120), up to PixelPaddingRangeLimit (0028,0121) if given, fills
    pixels that were not measured (PS3.3 C.7.5.1.1.2). Some scanners state a value that also
    occurs in tissue, so only pixels connected to the edge of the image are padding.

    Args:
        stored: (H, W) integers, as stored.
        header: Header of the slice.

    Returns:
        (H, W) booleans, or None if there is no padding.
    """
    value = _integer(header, "PixelPaddingValue")
    if value is None:
        return None
    limit = _integer(header, "PixelPaddingRangeLimit")
    modulo = 2 ** (8 * stored.dtype.itemsize)  # The sign of these attributes is often wrong.
    low, high = sorted((value, value if limit is None else limit))
    padded = (stored.astype(np.int64) - low) % modulo <= high - low
    if not padded.any():
        return None
    regions, _ = ndimage.label(padded)
    edge = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    return np.isin(regions, np.unique(edge[edge > 0]))


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
        (H, W) int16 HU, clipped to the range of int16.
    """
    if is_wrapped(bits_stored=bits_stored, signed=signed, intercept=intercept):
        # Negative values were stored modulo 4096 and are at the top of the range.
        stored = (stored + (-WRAP_INTERCEPT)) % WRAP_MODULO
        intercept = WRAP_INTERCEPT
    if slope == 1 and intercept == int(intercept):
        low, high = int(stored.min()) + int(intercept), int(stored.max()) + int(intercept)
        if _INT16.min <= low and high <= _INT16.max:
            # Modulo 2**16 the sum is correct for every type of the stored values.
            hu = stored.astype(np.uint16, copy=False) + np.uint16(int(intercept) % 2**16)
            return hu.view(np.int16)
    exact = np.rint(stored * float(slope) + float(intercept))
    return np.clip(exact, _INT16.min, _INT16.max).astype(np.int16)


def is_wrapped(*, bits_stored: int, signed: bool, intercept: float) -> bool:
    """Return whether the negative values of a file have wrapped around.

    12 unsigned bits hold 0..4095: with an intercept near zero, no value below 0 HU such as air
    could be stored. Such files actually contain raw - 1000 modulo 4096.
    """
    return bits_stored == 12 and not signed and intercept > _UNREPAIRED_INTERCEPT_ABOVE


def _check_image(dataset: Dataset, path: Path, frame: int | None) -> None:
    missing = [name for name in ("Rows", "Columns", "BitsAllocated") if not dataset.get(name)]
    frames = dataset.get("NumberOfFrames") or 1
    samples = dataset.get("SamplesPerPixel") or 1
    kind = str(dataset.get("PhotometricInterpretation", "MONOCHROME2"))
    if "PixelData" not in dataset:
        raise DamagedFileError(f"{path} contains no pixel data; expected one CT slice.")
    if missing:
        raise DamagedFileError(f"{path} lacks {', '.join(missing)}; expected one CT slice.")
    if int(frames) > 1 and frame is None:
        raise DamagedFileError(
            f"{path} contains {frames} frames; expected one CT slice. Convert it to one file per "
            "slice."
        )
    if int(samples) != 1 or not kind.startswith("MONOCHROME"):
        raise DamagedFileError(
            f"{path} has {samples} samples per pixel ({kind}); expected one greyscale CT slice."
        )
    if dataset.Rows * dataset.Columns > MAX_PIXELS:
        raise DamagedFileError(
            f"{path} has {dataset.Rows} x {dataset.Columns} pixels; expected one CT slice of at "
            f"most {MAX_PIXELS:,} pixels."
        )
    defaults = {"SamplesPerPixel": 1, "PixelRepresentation": 0, "BitsStored": dataset.BitsAllocated}
    for keyword, value in {**defaults, "PhotometricInterpretation": "MONOCHROME2"}.items():
        dataset.setdefault(keyword, value)
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = default_syntax(dataset)


def _check_coded_size(dataset: Dataset, path: Path, frame: int) -> None:
    """Compare the size declared in compressed pixels with that of the header.

    A decoder allocates the declared size, which may be many GB in a damaged or hostile file.
    """
    parameters = _CODED_SIZE.get(dataset.file_meta.TransferSyntaxUID)
    if parameters is None:
        return
    try:
        frames = int(dataset.get("NumberOfFrames") or 1)
        coded = parameters(get_frame(dataset.PixelData, frame, number_of_frames=frames))
    except Exception:  # The decoder will report the error.
        return
    if (coded["rows"], coded["columns"]) != (dataset.Rows, dataset.Columns):
        raise DamagedFileError(
            f"The pixel data of {path} have {coded['rows']} x {coded['columns']} pixels, but its "
            f"header says {dataset.Rows} x {dataset.Columns}. Get an intact copy of it."
        )


def _number(header: Dataset, keyword: str, default: float, path: Path) -> float:
    # Use the text as stored, because pydicom refuses a decimal comma.
    text = spelt(header, keyword)
    if not text:
        return default
    values = parse_numbers(text)
    if values[0] is None:
        raise DamagedFileError(f"{path}: {keyword} is {text!r}; expected one number.")
    return values[0]


def _integer(header: Dataset, keyword: str) -> int | None:
    try:
        value = header[keyword].value
        return int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
    except Exception:  # Absent, empty or not a number.
        return None
