"""DICOM headers of many files, read fast and without their pixels.

RSNA's headers are about 700 bytes: one read of the first 4 KiB gives all of a header, and
pydicom parses it from memory. Its values stay raw bytes and are converted here, which is
three times as fast as pydicom's value classes and turns a malformed value into a null.
"""

import io
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from rsna19_kedro.dicom.quiet import quiet_pydicom

TEXT_TAGS: Final = {
    "sop_instance_uid": "SOPInstanceUID",
    "study_id": "StudyInstanceUID",
    "patient_id": "PatientID",
    "series_instance_uid": "SeriesInstanceUID",
    "modality": "Modality",
    "photometric_interpretation": "PhotometricInterpretation",
}
INTEGER_TAGS: Final = {
    "rows": "Rows",
    "columns": "Columns",
    "bits_allocated": "BitsAllocated",
    "bits_stored": "BitsStored",
    "high_bit": "HighBit",
    "pixel_representation": "PixelRepresentation",
    "samples_per_pixel": "SamplesPerPixel",
}
NUMBER_TAGS: Final = {
    "rescale_intercept": "RescaleIntercept",
    "rescale_slope": "RescaleSlope",
    "window_center": "WindowCenter",
    "window_width": "WindowWidth",
    "slice_location_mm": "SliceLocation",
    "instance_number": "InstanceNumber",
}
VECTOR_TAGS: Final = {
    ("position_x", "position_y", "position_z"): "ImagePositionPatient",
    tuple(f"orientation_{i}" for i in range(6)): "ImageOrientationPatient",
    ("row_spacing_mm", "col_spacing_mm"): "PixelSpacing",
}

TRUNCATED: Final = "truncated pixel data"
"""How the problem of a slice begins that keeps its place although its pixels are cut off."""

_TEXT = {column: Tag(keyword) for column, keyword in TEXT_TAGS.items()}
_INTEGER = {column: Tag(keyword) for column, keyword in INTEGER_TAGS.items()}
_NUMBER = {column: Tag(keyword) for column, keyword in NUMBER_TAGS.items()}
_VECTOR = {columns: Tag(keyword) for columns, keyword in VECTOR_TAGS.items()}
_FRAMES, _IMAGE_TYPE = Tag("NumberOfFrames"), Tag("ImageType")
_WANTED: list[BaseTag | int] = [
    *_TEXT.values(),
    *_INTEGER.values(),
    *_NUMBER.values(),
    *_VECTOR.values(),
    _FRAMES,
    _IMAGE_TYPE,
]
_PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_UNCOMPRESSED = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
_FIRST_READ = 4096
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")

Row = dict[str, str | float | int | None]


@dataclass
class _Parsed:
    """A header and where its pixel data begin; ``offset`` is None when there are none."""

    header: FileDataset
    offset: int | None = None
    length: int = 0


def read_headers(root: Path, paths: Sequence[str]) -> list[Row]:
    """Read the headers of files; nothing that is in a file raises.

    Args:
        root: Folder that the paths are relative to.
        paths: Files, with ``/`` between folders; absolute ones are fine.

    Returns:
        One dictionary a file with ``path``, the columns of ``TEXT_TAGS``, ``INTEGER_TAGS``,
        ``NUMBER_TAGS`` and ``VECTOR_TAGS``, ``transfer_syntax_uid`` and ``problem``. A missing
        or malformed tag is None; of a tag with several values the first counts.
    """
    quiet_pydicom()
    base = os.fspath(root)
    return [{"path": path, **read_header(os.path.join(base, path))} for path in paths]


def read_header(path: str | Path) -> Row:
    """Read one header, see ``read_headers``.

    ``problem`` is None for a usable CT slice and else says what is wrong: unreadable file, not
    DICOM, a DICOMDIR, a missing UID, no pixel data, not CT, a localizer, several frames,
    colour, no image size, or pixel data that are cut off.
    """
    row: Row = dict.fromkeys(COLUMNS)
    try:
        parsed, size = _parse(path)
    except OSError as error:
        row["problem"] = f"cannot be read: {error.strerror or error}"
        return row
    if isinstance(parsed, _Parsed):
        _fill(row, parsed.header)
    row["problem"] = parsed if isinstance(parsed, str) else _problem(row, parsed, size)
    return row


def _parse(path: str | Path) -> tuple[_Parsed | str, int]:
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(_FIRST_READ)
        if not start:
            return "empty file", size
        if start[128:132] != b"DICM" and start[:2] not in _FIRST_GROUPS:
            return "not DICOM", size
        if size > len(start):
            with suppress(Exception):  # The header may go on beyond it: see the whole file.
                parsed = _parse_header(io.BytesIO(start))
                if parsed.offset is not None:
                    return parsed, size
    try:
        with open(path, "rb") as whole:
            return _parse_header(whole), size
    except OSError:
        raise
    except Exception as error:  # pydicom lets all sorts through on a malformed file
        return f"malformed DICOM: {type(error).__name__}: {error}"[:200], size


def _parse_header(file: BinaryIO) -> _Parsed:
    found: list[tuple[str | None, int]] = []

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag in _PIXEL_TAGS:
            found.append((vr, length))
            return True
        return False

    header = read_partial(file, stop_when=at_pixels, force=True, specific_tags=_WANTED)
    parsed = _Parsed(header)
    if found:
        vr, parsed.length = found[0]
        parsed.offset = file.tell() + (8 if vr in (None, "US", "SS") else 12)
    return parsed


def _fill(row: Row, header: FileDataset) -> None:
    for column, tag in _TEXT.items():
        row[column] = _text(header, tag)
    for column, tag in _INTEGER.items():
        row[column] = _integer(header, tag)
    for column, tag in _NUMBER.items():
        row[column] = next(iter(_numbers(header, tag)), None)
    for columns, tag in _VECTOR.items():
        values = _numbers(header, tag)
        if len(values) == len(columns) and None not in values:
            row.update(zip(columns, values, strict=True))
    syntax = header.file_meta.get("TransferSyntaxUID")
    row["transfer_syntax_uid"] = str(default_syntax(header) if syntax is None else syntax)


def default_syntax(header: Dataset) -> UID:
    """Transfer syntax of a file that does not name it: the one that it was parsed with."""
    implicit, little = header.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _problem(row: Row, parsed: _Parsed, size: int) -> str | None:
    stored = parsed.header.file_meta.get("MediaStorageSOPClassUID")
    image_type = (_text(parsed.header, _IMAGE_TYPE) or "").upper().split("\\")
    frames = next(iter(_numbers(parsed.header, _FRAMES)), None) or 1
    missing = [name for name in ("sop_instance_uid", "study_id") if not row[name]]
    modality = row["modality"] or ("CT" if stored == CTImageStorage else "unknown")
    checks = (
        (stored == MediaStorageDirectoryStorage, "a DICOMDIR, not an image"),
        (len(missing) == 2 and row["modality"] is None, "not DICOM, or without any UID"),
        (bool(missing), f"no {' and no '.join(TEXT_TAGS[name] for name in missing)}"),
        (modality != "CT", f"not CT: modality {modality}"),
        (parsed.offset is None, "no pixel data"),
        ("LOCALIZER" in image_type, "a localizer"),
        (frames > 1, f"several frames in one file: {frames:.0f}"),
        (
            (row["samples_per_pixel"] or 1) != 1,
            f"a colour image: {row['samples_per_pixel']} samples",
        ),
        (not (row["rows"] and row["columns"] and row["bits_allocated"]), "no image size"),
    )
    for found, text in checks:
        if found:
            return text
    return _truncation(row, parsed, size)


def _truncation(row: Row, parsed: _Parsed, size: int) -> str | None:
    if row["transfer_syntax_uid"] not in _UNCOMPRESSED or parsed.offset is None:
        return None  # the size of compressed pixels is known only once they are decoded
    expected = (
        int(row["rows"] or 0) * int(row["columns"] or 0) * int(row["bits_allocated"] or 0) // 8
    )
    there = max(min(size - parsed.offset, parsed.length), 0)
    return f"{TRUNCATED}: {there} of {expected} bytes" if there < expected else None


def _raw(header: FileDataset, tag: BaseTag) -> bytes | None:
    if tag not in header:
        return None
    value: Any = header.get_item(tag).value  # a raw element: not yet converted by pydicom
    return value if isinstance(value, bytes) else None


def _text(header: FileDataset, tag: BaseTag) -> str | None:
    raw = _raw(header, tag)
    if raw is None:
        return None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text.strip(" \0\r\n\t") or None


def _integer(header: FileDataset, tag: BaseTag) -> int | None:
    raw = _raw(header, tag)
    if raw is None or len(raw) < 2:
        return None
    little = getattr(header.get_item(tag), "is_little_endian", True)
    return int.from_bytes(raw[:2], "little" if little else "big")


def _numbers(header: FileDataset, tag: BaseTag) -> list[float | None]:
    text = _text(header, tag)
    return [] if text is None else [_number(part) for part in text.split("\\")]


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


COLUMNS: Final = (
    *TEXT_TAGS,
    *INTEGER_TAGS,
    *NUMBER_TAGS,
    *(column for columns in VECTOR_TAGS for column in columns),
    "transfer_syntax_uid",
    "problem",
)
"""Keys of a row besides ``path``."""
