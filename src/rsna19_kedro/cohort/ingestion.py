"""Slice index of a download."""

import logging
from functools import partial
from pathlib import Path

import pandas as pd

from rsna19_kedro.cohort.download import LAYOUTS, Download, list_files
from rsna19_kedro.cohort.labels import read_label_uids
from rsna19_kedro.dicom.headers import read_headers
from rsna19_kedro.dicom.slice_index import headers_table, number_slices
from rsna19_kedro.errors import SourceError
from rsna19_kedro.parallel import map_in_processes

logger = logging.getLogger(__name__)

_WORTH_PROCESSES = 4096
"""With fewer files, starting worker processes takes longer than reading the files."""


def index_download(download: Download, chunk_files: int, workers: int | None) -> pd.DataFrame:
    """Read the headers of all files of a download, and number the slices of each study.

    Args:
        download: Locations of the files.
        chunk_files: Files per job.
        workers: Number of processes; ``None`` for one per core.

    Returns:
        ``slice_index``: one row per file, see ``number_slices``.

    Raises:
        SourceError: A folder contains no files, no slice is usable for training, or several
            patients share a UID.
    """
    logger.info("Reading %s: %s", download.raw_dir, LAYOUTS[download.layout])
    jobs = [
        (subset, paths[start : start + chunk_files])
        for subset, paths in list_files(download).items()
        for start in range(0, len(paths), chunk_files)
    ]
    small = sum(len(paths) for _, paths in jobs) < _WORTH_PROCESSES
    chunks = map_in_processes(
        partial(_read_chunk, download.raw_dir),
        jobs,
        description="Reading headers",
        workers=1 if small else workers,
    )
    headers = pd.concat(list(chunks), ignore_index=True)
    if download.stage_1_csv is not None:
        stage_1 = (
            headers["sop_instance_uid"].astype(object).isin(read_label_uids(download.stage_1_csv))
        )
        headers.loc[(headers["subset"] == "train") & ~stage_1, "subset"] = "test"
    index = number_slices(headers, download.raw_dir)
    _check_usable(index, download)
    return index


def _read_chunk(raw_dir: Path, job: tuple[str, list[str]]) -> pd.DataFrame:
    subset, paths = job
    return headers_table([{**row, "subset": subset} for row in read_headers(raw_dir, paths)])


def _check_usable(index: pd.DataFrame, download: Download) -> None:
    used = index["slice_num"].notna()
    skipped = index[~used]
    if len(skipped):
        logger.warning("%d of %d files not used; see ingestion_report", len(skipped), len(index))
    if not (used & (index["subset"] == "train")).any():
        reasons = skipped["problem"].value_counts().head(3)
        shown = "; ".join(f"{text} ({count})" for text, count in reasons.items()) or "no files"
        folders = ", ".join(str(path) for subset, path in download.folders if subset == "train")
        raise SourceError(
            f"There is no usable CT slice for training in {folders}: {shown}. Expected DICOM "
            "files of CT slices with pixel data."
        )
