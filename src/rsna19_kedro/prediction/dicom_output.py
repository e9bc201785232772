"""DICOM results of new studies, which refer to the original images."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import PREDICTIONS
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.new_source import volume_name
from rsna19_kedro.dicom.result_sources import HeatPlace, result_sources
from rsna19_kedro.dicom.results import Algorithm, StudyFindings, write_dicom_results
from rsna19_kedro.dicom.sources import opened
from rsna19_kedro.errors import InputError, SourceError
from rsna19_kedro.prediction.heat import read_heat
from rsna19_kedro.progress import track
from rsna19_kedro.version import __version__

logger = logging.getLogger(__name__)

_NIFTI: Final = "no DICOM results: a NIfTI file has no DICOM images to refer to"


def write_studies(
    source: Path,
    volumes: VolumeStore,
    predictions: pd.DataFrame,
    sources: pd.DataFrame,
    heat: Path,
    folder: Path,
    *,
    method: str,
    precision: str,
    warning: str,
    detector: Mapping[str, str] | None,
    max_unpacked_bytes: int,
    include_phi: bool,
) -> dict[str, dict[str, Any]]:
    """Write the results of each study into ``folder/study_<number>``.

    The source is opened again for the image headers, which are not kept in between.

    Args:
        source: Source of the studies; see ``sources.opened``.
        volumes: Prepared volumes, with their records.
        predictions: Table of ``results_table``.
        sources: Files of the studies, see ``NewStudies.files``.
        heat: Folder with the heatmaps, see ``read_heat``.
        folder: Output folder.
        method: How the models were combined, in words.
        precision: Precision of the networks, such as ``fp32``.
        warning: Note on the training data, if results must show one; see ``Band.warning``.
        detector: Public detector that took part: ``name``, ``version`` and ``about``.
        max_unpacked_bytes: Zip files that unpack to more are refused.
        include_phi: Whether results name the patient.

    Returns:
        ``files``: written files by study number, relative to ``folder``; ``failed``: reasons by
        study number.
    """
    made: dict[str, dict[str, Any]] = {"files": {}, "failed": {}}
    sources = sources.astype({"study_number": "Int64", "slice_num": "Int64"})
    with opened(source, max_unpacked_bytes) as files:
        by_study = list(predictions.groupby("study_number", sort=True))
        for number, rows in track(by_study, "DICOM results"):
            name = volume_name(int(number))
            try:
                if files.nifti:
                    raise SourceError(_NIFTI)
                used = sources[sources["study_number"] == number].dropna(subset="slice_num")
                used = used.sort_values("slice_num")
                images = result_sources(files.root, used, include_phi=include_phi)
                if images.left_out:
                    logger.warning(
                        "Study %s: DICOM results omit %s (not valid in its files)",
                        *(number, ", ".join(images.left_out)),
                    )
                of_slices = rows[rows["level"] == "slice"].sort_values("slice_num")
                study = rows[rows["level"] == "study"]
                record = volumes.meta(name)["record"]
                assert isinstance(record, dict)
                findings = StudyFindings(
                    images.headers,
                    of_slices[list(PREDICTIONS)].to_numpy(np.float64),
                    study[list(PREDICTIONS)].to_numpy(np.float64)[0],
                    read_heat(heat, name),
                    HeatPlace.from_record(record, volumes.shape(name)[-1]),
                    method,
                    precision,
                    __version__,
                    warning,
                    None if detector is None else Algorithm(**detector),
                )
                paths = write_dicom_results(findings, folder / name)
            except InputError as error:
                made["failed"][str(number)] = str(error)
            except Exception as error:  # Unexpected headers must not stop the other studies.
                logger.debug("No DICOM results of study %s", number, exc_info=True)
                made["failed"][str(number)] = (
                    f"no DICOM results: its headers cannot be copied ({type(error).__name__})"
                )
            else:
                made["files"][str(number)] = [path.relative_to(folder).as_posix() for path in paths]
    return made
