"""Results as DICOM: a structured report and a segmentation, through highdicom.

Coded terms come from DICOM's own tables and SNOMED CT as far as pydicom lists them; types of
haemorrhage that it has no code for have one of this project's scheme ``99RSNA19`` (DICOM
keeps scheme names that start with 99 for such codes).
"""

import logging
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import highdicom as hd
import numpy as np
from highdicom import sr
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom.dataset import Dataset
from pydicom.sr.codedict import Code, codes
from pydicom.uid import JPEGLSLossless

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.dicom.result_sources import HeatPlace, check_refers
from rsna19_kedro.files import atomic_path

logger = logging.getLogger(__name__)

MANUFACTURER: Final = "rsna19_kedro"
FINDING_THRESHOLD: Final = 0.5
"""Slices at or above this probability are listed one by one in the report."""
_LOWEST_SHOWN: Final = 0.02
"""Slices whose map stays below this have no frame in the segmentation."""

_SCHEME: Final = "99RSNA19"
FINDINGS: Final = {
    "epidural": Code("epidural", _SCHEME, "Epidural intracranial hemorrhage"),
    "intraparenchymal": Code("274100004", "SCT", "Cerebral hemorrhage"),
    "intraventricular": Code("intraventricular", _SCHEME, "Intraventricular hemorrhage"),
    "subarachnoid": Code("21454007", "SCT", "Subarachnoid intracranial hemorrhage"),
    "subdural": Code("subdural", _SCHEME, "Subdural intracranial hemorrhage"),
    "any": Code("1386000", "SCT", "Intracranial hemorrhage"),
}


@dataclass(frozen=True)
class StudyFindings:
    """What is written of a study.

    Attributes:
        sources: Headers of its images, feet to head.
        slices: ``(S, 6)`` probabilities by slice.
        study: ``(6,)`` probabilities of the study.
        heat: ``(S, 6, h, h)`` evidence in 0..1 over the prepared slices; ``None`` for none.
        place: Where the prepared slices lie on the images.
        method: What combined the models, in words.
        version: Version of this software.
        warning: What every reader must see about the models; empty for nothing.
    """

    sources: Sequence[Dataset]
    slices: np.ndarray
    study: np.ndarray
    heat: np.ndarray | None
    place: HeatPlace
    method: str
    version: str
    warning: str = ""


def write_dicom_results(found: StudyFindings, folder: Path) -> list[Path]:
    """Write ``report.dcm`` (Enhanced SR) and, where there is a map, ``evidence.dcm`` (SEG).

    Args:
        found: What to write.
        folder: Made if it is missing.

    Returns:
        The files.

    Raises:
        SourceError: They would name another patient, study or image than the sources; then
            nothing is written.
    """
    with warnings.catch_warnings():
        # Names of one part are common, and the source's to mend.
        warnings.filterwarnings("ignore", message="The string .* is unlikely to represent")
        made: dict[str, Dataset] = {"report.dcm": structured_report(found)}
        segmentation = evidence_segmentation(found)
    if segmentation is not None:
        made["evidence.dcm"] = segmentation
    for dataset in made.values():
        check_refers(dataset, found.sources)
    paths = []
    for name, dataset in made.items():
        with atomic_path(folder / name) as part:
            dataset.save_as(part, enforce_file_format=True)
        paths.append(folder / name)
    return paths


def structured_report(found: StudyFindings) -> sr.EnhancedSR:
    """Measurement report (TID 1500): each class of the study, and the slices that show it.

    A group of the study refers to its most suspicious slice; a group of a slice to that slice.
    """
    observer = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=hd.UID(),
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name=found.version,
        ),
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.LN.HeadCT,
        imaging_measurements=list(_groups(found)),
        title=codes.DCM.ImagingMeasurementReport,
    )
    if found.warning:
        comment = sr.TextContentItem(
            name=codes.DCM.Comment,
            value=found.warning,
            relationship_type=sr.RelationshipTypeValues.CONTAINS,
        )
        content[0].ContentSequence.insert(-1, comment)  # Before the measurements.
    return sr.EnhancedSR(
        evidence=list(found.sources),
        content=content,
        series_number=9001,
        series_description=_series(found, "Haemorrhage probabilities, research only"),
        **_equipment(found.version),
    )


def evidence_segmentation(found: StudyFindings) -> hd.seg.Segmentation | None:
    """Fractional segmentation: evidence for a class times its probability on that slice.

    One segment a class. Slices without any have no frame; ``None`` where no slice has, and
    where several images lie at one position, which a segmentation cannot tell apart.
    """
    if found.heat is None:
        return None
    positions = {tuple(source.ImagePositionPatient) for source in found.sources}
    if len(positions) < len(found.sources):
        logger.warning("No segmentation of a study: several of its images lie at one position")
        return None
    rows, cols = int(found.sources[0].Rows), int(found.sources[0].Columns)
    pixels = np.zeros((len(found.sources), rows, cols, len(CLASSES)), dtype=np.float32)
    for number, probabilities in enumerate(found.slices):
        weighted = found.heat[number].astype(np.float32) * probabilities[:, None, None]
        weighted[weighted.max(axis=(1, 2)) < _LOWEST_SHOWN] = 0.0
        if weighted.any():
            on_image = found.place.on_image(weighted, number, rows, cols)
            pixels[number] = np.clip(on_image, 0.0, 1.0).transpose(1, 2, 0)
    shown = np.flatnonzero(pixels.any(axis=(0, 1, 2)))
    if not len(shown):
        return None
    segments = [_segment(place, CLASSES[k], found) for place, k in enumerate(shown, start=1)]
    return hd.seg.Segmentation(
        source_images=list(found.sources),
        pixel_array=pixels[..., shown],
        segmentation_type=hd.seg.SegmentationTypeValues.FRACTIONAL,
        fractional_type=hd.seg.SegmentationFractionalTypeValues.PROBABILITY,
        segment_descriptions=segments,
        series_number=9002,
        device_serial_number="none",
        content_label="EVIDENCE",
        content_description="Evidence for haemorrhage times probability; no outline",
        series_description=_series(found, "Haemorrhage evidence, research only"),
        transfer_syntax_uid=JPEGLSLossless,
        **_equipment(found.version),
    )


def _series(found: StudyFindings, usual: str) -> str:
    """Description of a series: the warning, if there is one; at most 64 characters (VR LO)."""
    return textwrap.shorten(found.warning or usual, 64, placeholder="...")


def _groups(found: StudyFindings) -> Iterator[sr.MeasurementsAndQualitativeEvaluations]:
    for k, name in enumerate(CLASSES):
        worst = int(found.slices[:, k].argmax())
        yield _group(found, name, f"study, {name}", float(found.study[k]), worst)
    for number, probabilities in enumerate(found.slices):
        for k, name in enumerate(CLASSES):
            if probabilities[k] >= FINDING_THRESHOLD:
                title = f"slice {number}, {name}"
                yield _group(found, name, title, float(probabilities[k]), number)


def _group(
    found: StudyFindings, name: str, title: str, probability: float, number: int
) -> sr.MeasurementsAndQualitativeEvaluations:
    image = found.sources[number]
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=hd.UID(), identifier=title),
        finding_type=FINDINGS[name],
        algorithm_id=sr.AlgorithmIdentification(
            name=MANUFACTURER, version=found.version, parameters=[found.method]
        ),
        measurements=[
            sr.Measurement(
                name=codes.DCM.Probability,
                value=round(100.0 * probability, 4),
                unit=codes.UCUM.Percent,
            )
        ],
        source_images=[sr.SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID)],
    )


def _segment(number: int, name: str, found: StudyFindings) -> hd.seg.SegmentDescription:
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=f"Evidence for {name}",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=FINDINGS[name],
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=MANUFACTURER,
            family=codes.DCM.ArtificialIntelligence,
            version=found.version,
        ),
        tracking_uid=hd.UID(),
        tracking_id=name,
    )


def _equipment(version: str) -> dict[str, Any]:
    """What report and segmentation say alike: new UIDs, equipment, this project's codes."""
    name = "Types of intracranial haemorrhage of rsna19_kedro"
    return {
        "series_instance_uid": hd.UID(),
        "sop_instance_uid": hd.UID(),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": MANUFACTURER,
        "software_versions": version,
        "coding_schemes": [CodingSchemeIdentificationItem(_SCHEME, name=name, version="1")],
    }
