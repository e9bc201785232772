"""Protected health information (PHI): where it may appear, and how it is removed elsewhere.

========================  ==================================================================
where                     what may appear
========================  ==================================================================
DICOM results             ``IMAGE_ATTRIBUTES``; all others only with ``include_phi``
tables, JSON, page, log,  UIDs, study date, descriptions without names and numbers;
errors of a prediction    ``PERSON_ATTRIBUTES`` and paths only with ``include_phi``
``sources.csv``           paths: the local key from study numbers to files
``slice_index``, log and  UIDs, PatientID (in tables) and paths: needed for the folds, for
errors of a training      reruns and for repairing files
========================  ==================================================================

Folders and files are often named after patients, so a path counts as patient data.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Final

import pydicom
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import DA, TM, format_number_as_ds, validate_value

IMAGE_ATTRIBUTES: Final = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("FrameOfReferenceUID", "Modality", "Rows", "Columns", "PixelSpacing", "SliceThickness"),
    *("SpacingBetweenSlices", "ImagePositionPatient", "ImageOrientationPatient"),
    *("InstanceNumber", "PositionReferenceIndicator"),
)
"""Attributes that do not identify a person."""

RESULT_ATTRIBUTES: Final = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *("AccessionNumber", "StudyID", "ReferringPhysicianName"),
)
"""Attributes that DICOM results must have, possibly empty (type 2)."""

PERSON_ATTRIBUTES: Final = (
    *("PatientName", "PatientID", "PatientBirthDate", "OtherPatientIDs", "OtherPatientNames"),
    *("PatientBirthName", "PatientMotherBirthName", "PatientAddress", "AccessionNumber"),
    *("ReferringPhysicianName", "OperatorsName", "PerformingPhysicianName"),
)
"""Attributes whose words are removed from free text."""

_COMMON: Final = frozenset(
    (
        *("and", "axial", "bone", "brain", "cerebral", "cranial", "ct", "data", "dcm"),
        *("dicom", "exam", "export", "folder", "for", "head", "hirn", "image", "images"),
        *("img", "in", "kopf", "mm", "new", "no", "non", "of", "plain", "schädel", "scan"),
        *("scans", "series", "skull", "slice", "slices", "soft", "spiral", "standard", "std"),
        *("studies", "study", "supine", "test", "the", "thick", "thin", "tissue", "to"),
        *("with", "without", "wo", "zip"),
    )
)
"""Common words of descriptions, kept even if a folder has such a name."""

_HIDDEN: Final = "***"
_DATES: Final = ("%Y%m%d", "%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y")


def identifying_words(header: Dataset, paths: Iterable[str] = ()) -> set[str]:
    """Collect words that identify the patient or other persons, and words of paths.

    Args:
        header: Header of one of the patient's files.
        paths: Files, with ``/`` between folders.
    """
    words: set[str] = set()
    for name in PERSON_ATTRIBUTES:
        text = text_of(header, name)
        words |= {text, *re.findall(r"\w+", text)}
    born = date_of(header, "PatientBirthDate")
    if born:
        words |= {DA(born.replace("-", "")).strftime(form) for form in _DATES}
    folders = {part for path in paths for part in PurePosixPath(path).parts}
    words |= folders | {word for part in folders for word in re.findall(r"[^\W_]+", part)}
    return {word for word in words if len(word) > 1 and word.lower() not in _COMMON}


def without_words(text: str, words: Iterable[str]) -> str:
    """Replace each of the words in a text by ``***``, ignoring case."""
    longest_first = sorted(map(re.escape, words), key=len, reverse=True)
    if not longest_first:
        return text
    pattern = rf"(?<![^\W_])(?:{'|'.join(longest_first)})(?![^\W_])"
    return re.sub(pattern, _HIDDEN, text, flags=re.IGNORECASE)


def text_of(header: Dataset, name: str) -> str:
    """Return an attribute as text; empty if it is missing or cannot be read."""
    with suppress(Exception):  # A malformed value makes pydicom raise many exception types.
        value = header.get(name)
        return "" if value is None else str(value).strip(" \0")
    return ""


def date_of(header: Dataset, name: str) -> str:
    """Return a date attribute as ``2019-06-01``; empty if it is missing or invalid."""
    with suppress(Exception):
        return DA(text_of(header, name)).isoformat()
    return ""


@config.disable_value_validation()
def readable_header(header: Dataset) -> tuple[Dataset, list[str]]:
    """Return the attributes of a header that can be written again; never raises.

    Texts are converted to UTF-8, dates and times to the current DICOM format, numbers to the
    allowed length. Private attributes, sequences and invalid values are left out.

    Returns:
        The header, and the keywords of attributes left out because of invalid values.
    """
    with suppress(Exception):
        header.decode()
    kept, lost = Dataset(), []
    for tag in sorted(header.keys()):
        name = pydicom.datadict.keyword_for_tag(tag)
        if tag.is_private or not name:
            continue
        try:
            element = header[tag]
            if element.VR in ("SQ", "OB", "OW", "UN") or name == "SpecificCharacterSet":
                continue
            kept[tag] = _valid(element)
        except Exception:
            lost.append(name)
    kept.SpecificCharacterSet = "ISO_IR 192"
    return kept, lost


def _valid(element: DataElement) -> DataElement:
    """Return the element in the form that DICOM requires; raises what pydicom raises."""
    value, vr = element.value, pydicom.datadict.dictionary_VR(element.tag)
    vr = element.VR if " or " in vr else vr
    if value in (None, "", []):
        return DataElement(element.tag, vr, value)
    if vr == "DA":
        value = DA(str(value)).strftime("%Y%m%d")
    elif vr == "TM":
        value = TM(str(value)).strftime("%H%M%S.%f")
    elif vr == "DS":
        several = isinstance(value, MultiValue | list)
        numbers = [format_number_as_ds(float(item)) for item in (value if several else [value])]
        value = numbers if several else numbers[0]
    elif element.keyword == "PatientSex" and value not in ("M", "F", "O"):
        raise ValueError(element.keyword)
    for item in value if isinstance(value, MultiValue | list) else [value]:
        if vr not in ("UI", "DS"):  # Kaggle's UIDs are not valid; numbers were formatted above.
            validate_value(vr, str(item) if vr == "PN" else item, config.RAISE)
    return DataElement(element.tag, vr, value)
