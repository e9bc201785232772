"""Nodes of the ingestion."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from rsna19_kedro.cohort.download import Download, find_download, list_files, own_download
from rsna19_kedro.cohort.ingestion_report import ingestion_text
from rsna19_kedro.cohort.labels import read_label_csv, read_label_uids
from rsna19_kedro.dicom.headers import read_headers
from rsna19_kedro.dicom.slice_index import headers_table, number_slices
from rsna19_kedro.errors import InputError
from rsna19_kedro.parallel import map_in_processes

from .parameters import IngestionParameters

logger = logging.getLogger(__name__)

_WORTH_PROCESSES = 4096
"""Fewer files than this are read sooner by this process than others could be started."""


def index_slices(raw_download: Path, params: IngestionParameters) -> pd.DataFrame:
    """Read the headers of all files of a download.

    Args:
        raw_download: Folder of the raw data.
        params: Where own data lie, and how many processes read.

    Returns:
        ``slice_index``: one row a file, see ``rsna19_kedro.dicom.slice_index.number_slices``.

    Raises:
        InputError: No such folder, no known layout, an empty folder, or no usable slice.
    """
    download = _download(raw_download, params)
    logger.info("Reading %s: layout %s", raw_download, download.layout)
    jobs = [
        (subset, paths[start : start + params.chunk_files])
        for subset, paths in list_files(download).items()
        for start in range(0, len(paths), params.chunk_files)
    ]
    small = sum(len(paths) for _, paths in jobs) < _WORTH_PROCESSES
    chunks = map_in_processes(
        partial(_read_chunk, raw_download),
        jobs,
        description="Reading headers",
        workers=1 if small else params.workers,
    )
    headers = pd.concat(list(chunks), ignore_index=True)
    if download.stage_1_csv is not None:
        stage_1 = read_label_uids(download.stage_1_csv)
        later = (headers["subset"] == "train") & ~headers["sop_instance_uid"].astype(object).isin(
            stage_1
        )
        headers.loc[later, "subset"] = "test"
    index = number_slices(headers)
    _check_usable(index, download)
    return index


def read_labels(
    raw_download: Path, slice_index: pd.DataFrame, params: IngestionParameters
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Read the label CSV of a download.

    Args:
        raw_download: Folder of the raw data.
        slice_index: Slices that the labels should belong to.
        params: Where own data lie.

    Returns:
        ``labels`` (``sop_instance_uid`` and six uint8 columns) and ``label_findings`` (see
        ``LabelFindings``).

    Raises:
        InputError: No CSV, one that breaks its form (``read_label_csv``), or one that does
            not name a single training slice.
    """
    download = _download(raw_download, params)
    if download.label_csv is None:
        looked_for = ", ".join(map(str, download.looked_for)) or "ingestion: own_data: labels_csv"
        raise InputError(f"There is no CSV with labels. Looked for: {looked_for}.")
    labels, findings = read_label_csv(download.label_csv)
    train = slice_index.loc[slice_index["subset"] == "train", "sop_instance_uid"].dropna()
    if not train.astype(object).isin(labels["sop_instance_uid"].astype(object)).any():
        raise InputError(
            f"{download.label_csv} names {len(labels)} slices, such as "
            f"{labels['sop_instance_uid'].iloc[0]}, but none of the {len(train)} training files, "
            f"such as {train.iloc[0]}. Does the CSV belong to these files?"
        )
    logger.info("%d slices have labels in %s", len(labels), download.label_csv.name)
    return labels, findings.as_dict()


def report_ingestion(
    raw_download: Path,
    slice_index: pd.DataFrame,
    labels: pd.DataFrame,
    label_findings: dict[str, Any],
    params: IngestionParameters,
) -> str:
    """Write what was read, what was skipped and why, and what is odd, as Markdown."""
    download = _download(raw_download, params)
    return ingestion_text(download, slice_index, labels, label_findings)


def _download(raw_dir: Path, params: IngestionParameters) -> Download:
    own = params.own_data
    if own is None:
        return find_download(raw_dir)
    folders = {"train": own.train, "test": own.test, "test2": own.test2}
    return own_download(raw_dir, folders, own.labels_csv)


def _read_chunk(raw_dir: Path, job: tuple[str, list[str]]) -> pd.DataFrame:
    subset, paths = job
    return headers_table([{**row, "subset": subset} for row in read_headers(raw_dir, paths)])


def _check_usable(index: pd.DataFrame, download: Download) -> None:
    used = index["slice_num"].notna()
    skipped = index[~used]
    if len(skipped):
        logger.warning(
            "%d of %d files are not used; ingestion_report says why", len(skipped), len(index)
        )
    if not (used & (index["subset"] == "train")).any():
        reasons = skipped["problem"].value_counts().head(3)
        shown = "; ".join(f"{text} ({count})" for text, count in reasons.items()) or "no files"
        folders = ", ".join(str(path) for subset, path in download.folders if subset == "train")
        raise InputError(
            f"There is no usable CT slice for training in {folders}: {shown}. Expected DICOM "
            "files of CT slices with pixel data."
        )
