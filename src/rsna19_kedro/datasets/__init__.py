"""Kedro datasets that the ecosystem lacks."""

from rsna19_kedro.datasets.checkpoint import CheckpointDataset
from rsna19_kedro.datasets.dicom_folder import DicomFolderDataset
from rsna19_kedro.datasets.folder import FolderDataset
from rsna19_kedro.datasets.volume_store import VolumeStoreDataset
from rsna19_kedro.datasets.whole_file import (
    CsvTableDataset,
    JsonFileDataset,
    TableDataset,
    TextFileDataset,
)

__all__ = [
    "CheckpointDataset",
    "CsvTableDataset",
    "DicomFolderDataset",
    "FolderDataset",
    "JsonFileDataset",
    "TableDataset",
    "TextFileDataset",
    "VolumeStoreDataset",
]
