"""Files that the nodes read besides their inputs, for the records of their results."""

from pathlib import Path

from rsna19_kedro.cohort.download import list_files
from rsna19_kedro.provenance.declare import Files, named_from

from .parameters import IngestionParameters


def image_files(raw_download: Path, params: IngestionParameters) -> Files:
    """All files in the folders of a download that may contain slices."""
    download = params.download(raw_download)
    names = [name for listed in list_files(download).values() for name in listed]
    csvs = [] if download.stage_1_csv is None else [download.stage_1_csv]
    return {name: raw_download / name for name in names} | named_from(raw_download, csvs)


def label_files(raw_download: Path, params: IngestionParameters) -> Files:
    """The label CSVs of a download."""
    paths = params.download(raw_download).looked_for
    return named_from(raw_download, (path for path in paths if path.is_file()))
