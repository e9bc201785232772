"""Frames of enhanced (multi-frame) CT, each with a header like that of a classic CT slice.

Enhanced CT (PS3.3 A.38) stores position, orientation, pixel spacing, kernel and rescale in
functional groups: in SharedFunctionalGroupsSequence (5200,9229) if all frames share them,
otherwise in PerFrameFunctionalGroupsSequence (5200,9230).
"""

from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

ENHANCED: Final = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)

_SHARED, _PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
_NAMES: Final = {"FrameAcquisitionNumber": "AcquisitionNumber", "FrameType": "ImageType"}
"""Attributes of functional groups and their names in classic CT."""
_HEAVY: Final = (_SHARED, _PER_FRAME, "PixelData", "NumberOfFrames")


def has_frames(sop_class_uid: object, frames: int) -> bool:
    """Return whether a file describes its slices in functional groups."""
    return str(sop_class_uid) in ENHANCED and frames > 0


def frame_headers(path: str | Path) -> list[Dataset]:
    """Read the header of each frame of an enhanced file.

    Args:
        path: DICOM file of a storage class in ``ENHANCED``.

    Returns:
        One dataset per frame: the file's attributes, overridden by those of the frame's
        functional groups, at the top level and without pixels.

    Raises:
        ValueError: The numbers of groups and frames differ.
    """
    return split_frames(dcmread(path, stop_before_pixels=True, force=True))


def split_frames(dataset: Dataset) -> list[Dataset]:
    """Split an enhanced dataset into one header per frame, see ``frame_headers``."""
    frames = int(dataset.get("NumberOfFrames") or 1)
    per_frame = list(dataset.get(_PER_FRAME) or [])
    if len(per_frame) != frames:
        raise ValueError(f"{frames} frames, but functional groups for {len(per_frame)}")
    common = Dataset()
    common.update({e.tag: e for e in dataset if e.keyword not in _HEAVY})
    if not common.get("ContrastBolusAgent") and _agent(dataset):
        common.ContrastBolusAgent = _agent(dataset)
    for group in dataset.get(_SHARED) or []:
        _flatten(group, common)
    headers = []
    for group in per_frame:
        header = Dataset()
        header.update(common)
        _flatten(group, header)
        headers.append(header)
    return headers


def _flatten(group: Dataset, header: Dataset) -> None:
    """Copy the attributes of a frame's functional groups to the top level."""
    for sequence in group:
        if sequence.VR != "SQ" or not sequence.value:
            continue
        for element in sequence.value[0]:
            if element.VR == "SQ":
                continue
            header[element.tag] = element
            if element.keyword in _NAMES:
                setattr(header, _NAMES[element.keyword], element.value)
    if header.get("ContrastBolusAgentAdministered") == "NO":
        header.ContrastBolusAgent = "NO"


def _agent(dataset: Dataset) -> str:
    """Return the contrast agents of ContrastBolusAgentSequence (0018,0012)."""
    agents = dataset.get("ContrastBolusAgentSequence") or []
    return ", ".join(str(agent.get("CodeMeaning") or agent.get("CodeValue")) for agent in agents)
