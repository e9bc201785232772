"""Patient data: which of it may appear where, and how it is kept out of everything else.

========================  ==================================================================
where                     what of the patient and the source
========================  ==================================================================
DICOM results             ``IMAGE_ATTRIBUTES``; all others only with ``include_phi``
tables, JSON, page, log,  UIDs, study date, descriptions without names and numbers;
errors of a prediction    ``PERSON_ATTRIBUTES`` and paths only with ``include_phi``
``sources.csv``           paths: the local key from study numbers to files
``slice_index``, log and  UIDs, PatientID (in tables) and paths, which folds, re-runs and
errors of a training      whoever mends a file need
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
"""Attributes that say nothing of the person."""

RESULT_ATTRIBUTES: Final = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime"),
    *("AccessionNumber", "StudyID", "ReferringPhysicianName"),
)
"""Attributes that DICOM results must have, if only empty (type 2)."""

PERSON_ATTRIBUTES: Final = (
    *("PatientName", "PatientID", "PatientBirthDate", "OtherPatientIDs", "OtherPatientNames"),
    *("PatientBirthName", "PatientMotherBirthName", "PatientAddress", "AccessionNumber"),
    *("ReferringPhysicianName", "OperatorsName", "PerformingPhysicianName"),
)
"""Attributes whose words are taken out of free text."""

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
"""Words of descriptions that name nobody, whatever a folder is called."""

_HIDDEN: Final = "***"
_DATES: Final = ("%Y%m%d", "%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y")


def identifying_words(header: Dataset, paths: Iterable[str] = ()) -> set[str]:
    """Words that name the patient or other persons, and those of folders and files.

    Args:
        header: Of one of the patient's files.
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
    """Text in which each of the words, in whatever case, is ``***``."""
    longest_first = sorted(map(re.escape, words), key=len, reverse=True)
    if not longest_first:
        return text
    pattern = rf"(?<![^\W_])(?:{'|'.join(longest_first)})(?![^\W_])"
    return re.sub(pattern, _HIDDEN, text, flags=re.IGNORECASE)


def text_of(header: Dataset, name: str) -> str:
    """Value of an attribute as text; empty where it is missing or cannot be read."""
    with suppress(Exception):  # pydicom lets all sorts through on a malformed value
        value = header.get(name)
        return "" if value is None else str(value).strip(" \0")
    return ""


def date_of(header: Dataset, name: str) -> str:
    """Date of an attribute as ``2019-06-01``; empty where it is missing or none."""
    with suppress(Exception):
        return DA(text_of(header, name)).isoformat()
    return ""


@config.disable_value_validation()
def readable_header(header: Dataset) -> tuple[Dataset, list[str]]:
    """Attributes of a header that can be written again; nothing that is in a file raises.

    Texts become UTF-8, dates and times get today's form, numbers the length that DICOM allows.
    Private attributes and sequences are left out, and what breaks the rules of its type.

    Returns:
        The header, and keywords of what was left out for its value.
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
    """The element in the form that the standard asks for; raises what pydicom raises."""
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
        numbers = [format_number_as_ds(float(one)) for one in (value if several else [value])]
        value = numbers if several else numbers[0]
    elif element.keyword == "PatientSex" and value not in ("M", "F", "O"):
        raise ValueError(element.keyword)
    for one in value if isinstance(value, MultiValue | list) else [value]:
        if vr not in ("UI", "DS"):  # Kaggle's UIDs are none; numbers were written just now.
            validate_value(vr, str(one) if vr == "PN" else one, config.RAISE)
    return DataElement(element.tag, vr, value)
