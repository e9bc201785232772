"""Kedro datasets that kedro-datasets does not provide, one class per file."""

from rsna19_kedro.datasets.checkpoint import CheckpointDataset
from rsna19_kedro.datasets.csv_table import CsvTableDataset
from rsna19_kedro.datasets.dicom_folder import DicomFolderDataset
from rsna19_kedro.datasets.folder import FolderDataset
from rsna19_kedro.datasets.json_file import JsonFileDataset
from rsna19_kedro.datasets.level2_model import Level2ModelDataset
from rsna19_kedro.datasets.origins import OriginsDataset
from rsna19_kedro.datasets.png import PngDataset
from rsna19_kedro.datasets.stored_table import StoredTableDataset
from rsna19_kedro.datasets.table import TableDataset
from rsna19_kedro.datasets.text_file import TextFileDataset
from rsna19_kedro.datasets.volume_store import VolumeStoreDataset

__all__ = [
    "CheckpointDataset",
    "CsvTableDataset",
    "DicomFolderDataset",
    "FolderDataset",
    "JsonFileDataset",
    "Level2ModelDataset",
    "OriginsDataset",
    "PngDataset",
    "StoredTableDataset",
    "TableDataset",
    "TextFileDataset",
    "VolumeStoreDataset",
]
