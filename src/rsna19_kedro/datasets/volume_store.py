"""The store of prepared volumes as a Kedro dataset."""

from pathlib import Path

from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.datasets.local import LocalDataset


class VolumeStoreDataset(LocalDataset[VolumeStore]):
    """A folder with one compressed file per study; loads as a handle, without reading voxels.

    The node that prepares volumes writes them study by study, so that an interrupted run can
    resume. The manifest ``volume_index`` lists the complete studies.

    Example:
        ```yaml
        volumes:
          type: rsna19_kedro.datasets.VolumeStoreDataset
          filepath: data/03_primary/volumes
        ```

        ```python
        store = VolumeStoreDataset(filepath="data/03_primary/volumes").load()
        hu = store.read("1.2.840.113619.2.1")  # (S, H, W) int16
        ```
    """

    def load(self) -> VolumeStore:
        """Return a handle to the volumes of the folder."""
        return VolumeStore(self._filepath)

    def save(self, data: VolumeStore) -> None:
        """Check that the handle is of this folder, and create the folder if it does not exist.

        Raises:
            ValueError: The handle is of another folder.
        """
        if data.folder.resolve() != self._filepath.resolve():
            raise ValueError(f"{data.folder} is not the folder of this dataset, {self._filepath}")
        self._filepath.mkdir(parents=True, exist_ok=True)

    def content_digest(self, path: Path) -> str:
        """Digest of the voxels of all volumes, from the checksums in their files."""
        return VolumeStore(path).digest()
