"""Sharpness of a reconstruction kernel, from the vendor's name for it."""

import re
from enum import Enum
from functools import lru_cache
from typing import Final

from rsna19_kedro.dicom.series_words import word_set, words_of


class Kernel(Enum):
    """Sharpness of a reconstruction kernel; the models are trained on soft-tissue kernels."""

    SOFT = 0
    MEDIUM = 1
    SHARP = 2


_SIEMENS: Final = re.compile(r"[a-eg-z]([a-z]?)(\d\d)[a-z]{0,2}$|f(\d\d)[a-z]?$")
_CANON: Final = re.compile(r"fc\s?(\d\d)")
_CANON_SHARP_TENS: Final = (3, 5, 7, 8)
"""FC30s inner ear and bone, FC50s lung, FC70s and FC80s bone at high resolution."""
_PHILIPS: Final = {
    **dict.fromkeys(("a", "b", "ua", "ub", "ea", "eb", "ca", "cb", "xca", "xcb"), Kernel.SOFT),
    **dict.fromkeys(("c", "uc", "ec", "cc", "xcc"), Kernel.MEDIUM),
    **dict.fromkeys(("d", "e", "f", "l", "cd", "ya", "yb", "yc", "yd", "ye"), Kernel.SHARP),
}
_SHARP: Final = word_set(
    """
    edge ultra sharp vsharp ysharp hires hrct ear os oseo osea osso hueso iac iam innenohr
    """
)
_SHARP_STARTS: Final = ("bone", "lung", "knochen", "osse", "petros", "felsenb", "temporalb")
_MEDIUM: Final = word_set(
    """
    detail ydetail
    """
)
_SOFT: Final = word_set(
    """
    soft vsoft smooth standard std stnd stand brain neuro weichteil
    """
)
_IN_DESCRIPTION: Final = re.compile(r"([bhijquv][a-z]?\d\d[a-z]{0,2}|fc\d\d)$")


@lru_cache(maxsize=4096)
def kernel_of(kernel: str, description: str = "") -> Kernel | None:
    """Return the sharpness of a reconstruction kernel; None if unknown.

    Args:
        kernel: ConvolutionKernel (0018,1210); several values, such as the strength of an
            iterative reconstruction, are separated by backslashes.
        description: SeriesDescription, used if ``kernel`` says nothing.
    """
    for value in kernel.split("\\"):
        sharpness = _kernel(value)
        if sharpness is not None:
            return sharpness
    words = words_of(description)
    for word in words:
        if _IN_DESCRIPTION.match(word):
            return _kernel(word)
    return _kernel_by_words(words)


def _kernel(value: str) -> Kernel | None:
    name = value.strip().lower()
    inside = re.search(r"\((\w+)\)", name)
    short = (inside.group(1) if inside else name).replace(" ", "")
    if short in _PHILIPS:
        return _PHILIPS[short]
    canon = _CANON.match(short)
    if canon:
        sharp = int(canon.group(1)) // 10 in _CANON_SHARP_TENS
        return Kernel.SHARP if sharp else Kernel.SOFT
    siemens = _SIEMENS.match(short)
    if siemens:
        number = int(siemens.group(2) or siemens.group(3))
        if siemens.group(1) == "l" or number >= 60:
            return Kernel.SHARP
        return Kernel.MEDIUM if number >= 50 else Kernel.SOFT
    return _kernel_by_words(words_of(value))


def _kernel_by_words(words: list[str]) -> Kernel | None:
    if any(word in _SHARP or word.startswith(_SHARP_STARTS) for word in words):
        return Kernel.SHARP
    if _MEDIUM.intersection(words):
        return Kernel.MEDIUM
    return Kernel.SOFT if _SOFT.intersection(words) else None
