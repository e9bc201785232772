"""The store of prepared volumes as a Kedro dataset."""

from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractDataset

from rsna19_kedro.ct.volume_store import VolumeStore


class VolumeStoreDataset(AbstractDataset[VolumeStore, VolumeStore]):
    """A folder with one compressed file a study; loads as a handle, not as voxels.

    The node that makes volumes writes them itself, study by study, so that a killed run goes
    on; saving only checks the folder. Whether all studies are there is said by the manifest
    ``volume_index``, not by this dataset.

    Args:
        filepath: The folder.
        metadata: Anything, for plugins such as kedro-viz.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = PurePosixPath(filepath)
        self.metadata = metadata

    def load(self) -> VolumeStore:
        """Give a handle to the folder's volumes."""
        return VolumeStore(Path(self._filepath))

    def save(self, data: VolumeStore) -> None:
        """Check that the handle is of this folder.

        Raises:
            ValueError: The handle is of another folder.
        """
        if Path(data.folder).resolve() != Path(self._filepath).resolve():
            raise ValueError(f"{data.folder} is not the folder of this dataset, {self._filepath}")

    def _exists(self) -> bool:
        return Path(self._filepath).is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}
