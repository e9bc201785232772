"""DICOM results of new studies: what was predicted, brought back to the images it is about."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import PREDICTIONS
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.headers import read_headers
from rsna19_kedro.dicom.result_sources import HeatPlace, result_sources
from rsna19_kedro.dicom.results import StudyFindings, write_dicom_results
from rsna19_kedro.dicom.sources import opened
from rsna19_kedro.errors import InputError
from rsna19_kedro.prediction.heat import read_heat
from rsna19_kedro.version import __version__


def write_studies(
    source: Path,
    volumes: VolumeStore,
    predictions: pd.DataFrame,
    heat: Path,
    folder: Path,
    *,
    method: str,
    max_unpacked_bytes: int,
    include_phi: bool,
) -> dict[str, dict[str, Any]]:
    """Write the results of each study into ``folder/study_<n>``, as the report numbers them.

    The source is opened again for the images' headers: nothing of them is kept in between.

    Args:
        source: What was predicted; see ``sources.opened``.
        volumes: Prepared volumes, with their records.
        predictions: ``level`` (``study`` or ``slice``), keys and six ``pred_*``.
        heat: Folder with the evidence maps ``<number>.npy``.
        folder: Where results go.
        method: What combined the models, in words.
        max_unpacked_bytes: A zip file that unpacks to more is refused.
        include_phi: Whether results name the patient.

    Returns:
        ``files``: those of each study, relative to ``folder``; ``failed``: why a study has none.
    """
    made: dict[str, dict[str, Any]] = {"files": {}, "failed": {}}
    studies = predictions[predictions["level"] == "study"]
    with opened(source, max_unpacked_bytes) as found:
        if found.nifti:
            reason = "no DICOM results: a NIfTI file has no DICOM images to refer to"
            return {**made, "failed": {"nifti": reason}}
        paths = _paths(found.root, found.files)
        for number, (_, study) in enumerate(studies.iterrows()):
            name = str(study["study_id"])
            own = predictions[(predictions["study_id"] == name) & (predictions["level"] == "slice")]
            own = own.sort_values("slice_num")
            try:
                sources = result_sources(
                    found.root,
                    [paths[uid] for uid in own["sop_instance_uid"]],
                    include_phi=include_phi,
                )
            except InputError as error:
                made["failed"][name] = str(error)
                continue
            record = volumes.meta(name)["record"]
            assert isinstance(record, dict)
            findings = StudyFindings(
                sources,
                own[list(PREDICTIONS)].to_numpy(np.float64),
                study[list(PREDICTIONS)].to_numpy(np.float64),
                read_heat(heat, number),
                HeatPlace.from_record(record, volumes.shape(name)[-1]),
                method,
                __version__,
            )
            paths_made = write_dicom_results(findings, folder / f"study_{number + 1}")
            made["files"][name] = [path.relative_to(folder).as_posix() for path in paths_made]
    return made


def _paths(root: Path, files: tuple[str, ...]) -> dict[str, str]:
    """The file of each SOPInstanceUID; of several, the first without a problem, by path."""
    rows = read_headers(root, files)
    rows.sort(key=lambda row: (row["problem"] is not None, row["path"]), reverse=True)
    return {str(row["sop_instance_uid"]): str(row["path"]) for row in rows}  # The last one stays.
