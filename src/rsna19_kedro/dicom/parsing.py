"""Parsing of one header in bounded time and memory, whatever the file contains.

RSNA's headers have about 700 bytes: the first 4 KiB contain the whole header, which pydicom
parses from memory. More of the file is read only for longer headers.
"""

import io
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from pydicom.dataset import FileDataset
from pydicom.filereader import read_file_meta_info, read_partial
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

MAX_HEADER_BYTES: Final = 64 * 2**20
"""Longer headers are refused."""

MAX_INFLATED_BYTES: Final = 2**30
"""Deflated files that inflate to more (about 2,000 slices of 512 x 512) are refused."""

_READS: Final = (4096, 65536, MAX_HEADER_BYTES)
_FIRST_GROUPS: Final = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
_PIXEL_TAGS: Final = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
_BEFORE_META: Final = 132 + 12
"""Bytes of the preamble and of FileMetaInformationGroupLength (0002,0000)."""


@dataclass
class Parsed:
    """A header and the position of its pixel data; ``offset`` is None if there are none."""

    header: FileDataset
    offset: int | None = None
    length: int = 0


def malformed(error: Exception) -> str:
    """Return the problem text of a header that pydicom cannot parse."""
    return f"malformed DICOM: {type(error).__name__}: {error}"[:200]


def parse(path: str | Path, wanted: list[BaseTag | int]) -> tuple[Parsed | str, int]:
    """Parse the header of a file.

    Args:
        path: Any file.
        wanted: Tags whose values are read.

    Returns:
        The header, or what is wrong with the file; and the size of the file in bytes.

    Raises:
        OSError: The file cannot be read.
    """
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(_READS[0])
        if not content:
            return "empty file", size
        if content[128:132] != b"DICM" and content[:2] not in _FIRST_GROUPS:
            return "not DICOM", size
        if DeflatedExplicitVRLittleEndian.encode() in content:
            return _parse_deflated(path, wanted), size
        for length in _READS[1:]:
            if size <= len(content):
                break
            with suppress(Exception):  # The header may be longer than what was read.
                parsed = _parse(io.BytesIO(content), wanted)
                if parsed.offset is not None:
                    return parsed, size
            content += file.read(length - len(content))
    try:
        return _parse(io.BytesIO(content), wanted), size
    except Exception as error:  # A malformed file makes pydicom raise many exception types.
        return malformed(error), size


def _parse_deflated(path: str | Path, wanted: list[BaseTag | int]) -> Parsed | str:
    try:
        start = _BEFORE_META + int(read_file_meta_info(path).FileMetaInformationGroupLength)
        with open(path, "rb") as file:
            file.seek(start)
            inflater, inflated, block = zlib.decompressobj(-zlib.MAX_WBITS), 0, file.read(2**16)
            while block and inflated <= MAX_INFLATED_BYTES:
                inflated += len(inflater.decompress(block, 2**20))
                block = inflater.unconsumed_tail or file.read(2**16)
            if inflated > MAX_INFLATED_BYTES:
                return f"deflated data of more than {MAX_INFLATED_BYTES / 2**30:.0f} GiB"
            file.seek(0)
            return _parse(file, wanted)
    except OSError:
        raise
    except Exception as error:  # A malformed file makes pydicom raise many exception types.
        return malformed(error)


def _parse(file: BinaryIO, wanted: list[BaseTag | int]) -> Parsed:
    pixel_elements: list[tuple[str | None, int]] = []

    def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
        if tag in _PIXEL_TAGS:
            pixel_elements.append((vr, length))
        return tag in _PIXEL_TAGS or tag == 0  # Tag 0: zero padding, possibly very long.

    header = read_partial(file, stop_when=stop, force=True, specific_tags=wanted)
    parsed = Parsed(header)
    if pixel_elements:
        vr, parsed.length = pixel_elements[0]
        parsed.offset = file.tell() + (8 if vr in (None, "US", "SS") else 12)
    return parsed
