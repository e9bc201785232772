"""Nodes of the ingestion."""

from pathlib import Path
from typing import Any

import pandas as pd

from rsna19_kedro.cohort.ingestion import index_download
from rsna19_kedro.cohort.ingestion_report import ingestion_text
from rsna19_kedro.cohort.labels import read_download_labels
from rsna19_kedro.dicom.volume_index import study_checksums
from rsna19_kedro.provenance.declare import result_of

from .files import image_files, label_files
from .parameters import IngestionParameters


@result_of(
    ignores=("params.workers", "params.chunk_files"),
    files=image_files,
    checksums=study_checksums,
)
def index_slices(
    raw_download: Path, params: IngestionParameters
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Read the headers of all files of a download.

    Args:
        raw_download: Folder of the raw data.
        params: Folders of your own data, and number of processes.

    Returns:
        ``download_facts``: ``synthetic``, whether the labelled slices are phantoms; and
        ``slice_index``: one row per file, see ``rsna19_kedro.dicom.slice_index.number_slices``.

    Raises:
        SourceError: The folder is missing, empty or of unknown layout, or has no usable slice.
    """
    download = params.download(raw_download)
    index = index_download(download, params.chunk_files, params.workers)
    return {"synthetic": download.is_synthetic}, index


@result_of(ignores=("params.workers", "params.chunk_files"), files=label_files)
def read_labels(
    raw_download: Path, slice_index: pd.DataFrame, params: IngestionParameters
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read the label CSV of a download.

    Args:
        raw_download: Folder of the raw data.
        slice_index: Slices to which the labels belong.
        params: Folders of your own data.

    Returns:
        ``labels`` (``sop_instance_uid`` and six uint8 columns) and ``label_findings`` (see
        ``LabelFindings``).

    Raises:
        SourceError: The CSV is missing, or contains no training slice.
        DamagedFileError: See ``read_label_csv``.
    """
    return read_download_labels(params.download(raw_download), slice_index)


@result_of(version=2, ignores=("params.workers", "params.chunk_files"))
def report_ingestion(
    raw_download: Path,
    slice_index: pd.DataFrame,
    labels: pd.DataFrame,
    label_findings: dict[str, Any],
    params: IngestionParameters,
) -> str:
    """Report what was read, what was skipped and why, and irregularities, as Markdown."""
    return ingestion_text(params.download(raw_download), slice_index, labels, label_findings)
