"""Results as DICOM: a structured report and a segmentation, written with highdicom.

Coded terms come from DICOM and SNOMED CT as far as pydicom lists them; the other types of
haemorrhage have codes of the private scheme ``99RSNA19`` (DICOM reserves scheme names that
start with 99 for private codes).
"""

import logging
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

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
"""Slices at or above this probability are listed individually in the report."""
_LOWEST_SHOWN: Final = 0.02
"""Slices whose map is below this everywhere have no frame in the segmentation."""

_SCHEME: Final = "99RSNA19"
FINDINGS: Final = {
    "epidural": Code("epidural", _SCHEME, "Epidural intracranial hemorrhage"),
    "intraparenchymal": Code("274100004", "SCT", "Cerebral hemorrhage"),
    "intraventricular": Code("intraventricular", _SCHEME, "Intraventricular hemorrhage"),
    "subarachnoid": Code("21454007", "SCT", "Subarachnoid intracranial hemorrhage"),
    "subdural": Code("subdural", _SCHEME, "Subdural intracranial hemorrhage"),
    "any": Code("1386000", "SCT", "Intracranial hemorrhage"),
}


class Algorithm(NamedTuple):
    """A published algorithm.

    Attributes:
        name: At most 38 characters, so that it fits into the description of a series.
        version: Version of its weights.
        about: Its authors, licence, training data and published figures.
    """

    name: str
    version: str
    about: str


@dataclass(frozen=True)
class StudyFindings:
    """Predictions of one study, as written to DICOM.

    Attributes:
        sources: Headers of its images, from feet to head.
        slices: ``(S, 6)`` slice probabilities.
        study: ``(6,)`` study probabilities.
        heat: ``(S, 6, h, h)`` class activation maps in 0..1 of the prepared slices, or ``None``.
        place: Mapping of the prepared slices to the images.
        method: Description of how the models were combined.
        precision: Precision of the networks, such as ``fp32``.
        version: Version of this software.
        warning: Warning about the models that every reader must see; empty for none.
        algorithm: Algorithm by other authors; ``None`` for this software.
    """

    sources: Sequence[Dataset]
    slices: np.ndarray
    study: np.ndarray
    heat: np.ndarray | None
    place: HeatPlace
    method: str
    precision: str
    version: str
    warning: str = ""
    algorithm: Algorithm | None = None


def write_dicom_results(findings: StudyFindings, folder: Path) -> list[Path]:
    """Write ``report.dcm`` (Enhanced SR) and, if there is a map, ``evidence.dcm`` (SEG).

    Args:
        findings: Predictions of the study.
        folder: Output folder; created if missing.

    Returns:
        Paths of the files.

    Raises:
        SourceError: The results would name another patient, study or image than the sources;
            nothing is written then.
    """
    with warnings.catch_warnings():
        # Patient names of one component are common; correcting them is up to the source.
        warnings.filterwarnings("ignore", message="The string .* is unlikely to represent")
        made: dict[str, Dataset] = {"report.dcm": structured_report(findings)}
        segmentation = evidence_segmentation(findings)
    if segmentation is not None:
        made["evidence.dcm"] = segmentation
    for dataset in made.values():
        check_refers(dataset, findings.sources)
    paths = []
    for name, dataset in made.items():
        with atomic_path(folder / name) as part:
            dataset.save_as(part, enforce_file_format=True)
        paths.append(folder / name)
    return paths


def structured_report(findings: StudyFindings) -> sr.EnhancedSR:
    """Build a measurement report (TID 1500) of the study and of each class of each positive slice.

    A study's group refers to the slice of highest probability, a slice's group to that slice.
    """
    observer = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=hd.UID(),
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name=findings.version,
        ),
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.LN.HeadCT,
        imaging_measurements=list(_groups(findings)),
        title=codes.DCM.ImagingMeasurementReport,
    )
    about = findings.algorithm.about if findings.algorithm else ""
    for text in filter(None, dict.fromkeys((findings.warning, about))):
        comment = sr.TextContentItem(
            name=codes.DCM.Comment,
            value=text,
            relationship_type=sr.RelationshipTypeValues.CONTAINS,
        )
        content[0].ContentSequence.insert(-1, comment)  # Before the measurements.
    return sr.EnhancedSR(
        evidence=list(findings.sources),
        content=content,
        series_number=9001,
        series_description=_series(findings, "Haemorrhage probabilities, research only"),
        **_equipment(findings.version),
    )


def evidence_segmentation(findings: StudyFindings) -> hd.seg.Segmentation | None:
    """Build a fractional segmentation: class activation map times probability, per slice.

    There is one segment per class; slices below the threshold have no frame. ``None`` if no
    slice has a frame, or if images share a position, which a segmentation cannot represent.
    """
    if findings.heat is None:
        return None
    positions = {tuple(source.ImagePositionPatient) for source in findings.sources}
    if len(positions) < len(findings.sources):
        logger.warning("No segmentation for a study: several of its images share one position")
        return None
    rows, cols = int(findings.sources[0].Rows), int(findings.sources[0].Columns)
    pixels = np.zeros((len(findings.sources), rows, cols, len(CLASSES)), dtype=np.float32)
    for number, probabilities in enumerate(findings.slices):
        weighted = findings.heat[number].astype(np.float32) * probabilities[:, None, None]
        weighted[weighted.max(axis=(1, 2)) < _LOWEST_SHOWN] = 0.0
        if weighted.any():
            on_image = findings.place.on_image(weighted, number, rows, cols)
            pixels[number] = np.clip(on_image, 0.0, 1.0).transpose(1, 2, 0)
    shown = np.flatnonzero(pixels.any(axis=(0, 1, 2)))
    if not len(shown):
        return None
    segments = [_segment(i, CLASSES[k], findings) for i, k in enumerate(shown, start=1)]
    return hd.seg.Segmentation(
        source_images=list(findings.sources),
        pixel_array=pixels[..., shown],
        segmentation_type=hd.seg.SegmentationTypeValues.FRACTIONAL,
        fractional_type=hd.seg.SegmentationFractionalTypeValues.PROBABILITY,
        segment_descriptions=segments,
        series_number=9002,
        device_serial_number="none",
        content_label="EVIDENCE",
        content_description="Evidence for haemorrhage times probability; no outline",
        series_description=_series(findings, "Haemorrhage evidence, research only"),
        transfer_syntax_uid=JPEGLSLossless,
        **_equipment(findings.version),
    )


def _series(findings: StudyFindings, usual: str) -> str:
    """Describe a series by the warning, if any, in at most 64 characters (VR LO)."""
    if findings.algorithm is not None:
        usual = f"Algorithm: {findings.algorithm.name}, research only"
    return textwrap.shorten(findings.warning or usual, 64, placeholder="...")


def _name_and_version(findings: StudyFindings) -> tuple[str, str]:
    if findings.algorithm is None:
        return MANUFACTURER, findings.version
    return findings.algorithm.name, findings.algorithm.version


def _groups(findings: StudyFindings) -> Iterator[sr.MeasurementsAndQualitativeEvaluations]:
    for k, name in enumerate(CLASSES):
        worst = int(findings.slices[:, k].argmax())
        yield _group(findings, name, f"study, {name}", float(findings.study[k]), worst)
    for number, probabilities in enumerate(findings.slices):
        for k, name in enumerate(CLASSES):
            if probabilities[k] >= FINDING_THRESHOLD:
                title = f"slice {number}, {name}"
                yield _group(findings, name, title, float(probabilities[k]), number)


def _group(
    findings: StudyFindings, name: str, title: str, probability: float, number: int
) -> sr.MeasurementsAndQualitativeEvaluations:
    image = findings.sources[number]
    algorithm, version = _name_and_version(findings)
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=hd.UID(), identifier=title),
        finding_type=FINDINGS[name],
        algorithm_id=sr.AlgorithmIdentification(
            name=algorithm,
            version=version,
            parameters=[findings.method, f"precision {findings.precision}"],
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


def _segment(number: int, name: str, findings: StudyFindings) -> hd.seg.SegmentDescription:
    algorithm, version = _name_and_version(findings)
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=f"Evidence for {name}",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=FINDINGS[name],
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=algorithm,
            family=codes.DCM.ArtificialIntelligence,
            version=version,
            parameters={"precision": findings.precision},
        ),
        tracking_uid=hd.UID(),
        tracking_id=name,
    )


def _equipment(version: str) -> dict[str, Any]:
    """Return the attributes that report and segmentation share: UIDs, equipment, codes."""
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
