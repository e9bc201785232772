"""Kedro datasets that the ecosystem lacks."""

from rsna19_kedro.datasets.checkpoint import CheckpointDataset
from rsna19_kedro.datasets.dicom_folder import DicomFolderDataset
from rsna19_kedro.datasets.folder import FolderDataset
from rsna19_kedro.datasets.volume_store import VolumeStoreDataset

__all__ = ["CheckpointDataset", "DicomFolderDataset", "FolderDataset", "VolumeStoreDataset"]
