"""Detection of CT images whose pixels are not Hounsfield units: captures, reports, maps."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from rsna19_kedro.dicom.series_words import words_of

SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
"""Storage class of screen captures, and the prefix of its multi-frame classes."""

_RESCALE_TYPES: Final = {
    "Z_EFF": "effective atomic number",
    "ED": "electron density",
    "EDW": "electron density",
    "MGML": "material density",
    "PCT": "percent",
    "OD": "optical density",
    "HU_MOD": "modified HU, from which a material was removed",
}
"""Defined terms of RescaleType (0028,1054), PS3.3 C.11.1.1.2, except HU and US (unspecified)."""
_LOCALIZERS: Final = dict.fromkeys(
    ("localizer", "scout", "topogram", "topo", "surview", "scanogram"), "a localizer"
)
_PAGES: Final = {
    "screen": "a screen capture",
    "screenshot": "a screen capture",
    "capture": "a screen capture",
    "dose": "a dose report",
    "report": "a report page",
    "protocol": "a protocol page",
    "summary": "a summary page",
}
_PAGE_PHRASES: Final = ("dose report", "patient protocol", "exam summary", "screen save")
"""In descriptions, where a single word such as "dose" also occurs in usable series."""
_MAPS: Final = {
    "mip": "a maximum intensity projection",
    "minip": "a minimum intensity projection",
    "vrt": "a volume rendering",
    "vr": "a volume rendering",
    "cbf": "a perfusion map",
    "cbv": "a perfusion map",
    "mtt": "a perfusion map",
    "ttp": "a perfusion map",
    "tmax": "a perfusion map",
    "rho": "an electron density map",
    "zeff": "a map of effective atomic numbers",
    "iodine": "an iodine map",
    "calcium": "a calcium map",
    "uric": "a uric acid map",
}
_IMAGE_TYPES: Final = {
    "projection image": "a projection",
    "maximum_ip": "a maximum intensity projection",
    "volume_render": "a volume rendering",
    "surface_render": "a surface rendering",
    "eff_z": "a map of effective atomic numbers",
    "std_deviation": "a map of standard deviations",
    "subtraction": "a subtraction",
}


@lru_cache(maxsize=4096)
def why_not_hu(
    sop_class_uid: str, image_type: str, rescale_type: str, bits_stored: int, description: str
) -> str:
    """Return why the pixels of a CT image are not Hounsfield units; empty if they may be.

    Args:
        sop_class_uid: SOPClassUID (0008,0016).
        image_type: ImageType (0008,0008), values separated by backslashes.
        rescale_type: RescaleType (0028,1054).
        bits_stored: BitsStored (0028,0101); 0 if unknown.
        description: SeriesDescription (0008,103E).
    """
    values = [value.strip().lower() for value in image_type.split("\\")]
    return (
        (sop_class_uid.startswith(SECONDARY_CAPTURE) and "a secondary capture, an image without HU")
        or _by_words(
            {word for value in values for word in words_of(value)}, _LOCALIZERS, _PAGES, _MAPS
        )
        or next((_IMAGE_TYPES[value] for value in values if value in _IMAGE_TYPES), "")
        or _by_rescale_type(rescale_type.strip())
        or (0 < bits_stored <= 8 and f"an image of {bits_stored} bits, too few for HU")
        or _by_words(set(words_of(description)), _LOCALIZERS, _MAPS)
        or next((page for page in _PAGE_PHRASES if page in " ".join(words_of(description))), "")
        or ""
    )


def _by_words(words: set[str], *kinds: Mapping[str, str]) -> str:
    return next((kind[word] for kind in kinds for word in kind if word in words), "")


def _by_rescale_type(rescale_type: str) -> str:
    kind = _RESCALE_TYPES.get(rescale_type.upper())
    return f"no HU but {kind} (RescaleType {rescale_type})" if kind else ""


def derived_doubt(image_type: str, burned_in_annotation: str) -> str:
    """Return what makes an image less reliable than an original one; empty if nothing does.

    Derived images are often good reconstructions, so this only lowers the rank of a series.
    """
    if burned_in_annotation.strip().upper() == "YES":
        return "text is burned into its images"
    values = {value.strip().upper() for value in image_type.split("\\")}
    if "SECONDARY" in values:
        return "derived images"
    return ""
