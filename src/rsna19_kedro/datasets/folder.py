"""A folder as a Kedro dataset."""

from pathlib import Path

from rsna19_kedro.datasets.local import LocalDataset


class FolderDataset(LocalDataset[Path]):
    """A folder on the local disk, passed to a node as its path.

    Nodes that run for hours keep finished parts in such a folder, so that an interrupted run can
    resume; the final table or checkpoint is a separate dataset. The folder need not exist: it is
    created with its first file.

    Example:
        ```yaml
        new_dicom_folder:
          type: rsna19_kedro.datasets.FolderDataset
          filepath: data/07_model_output/new_study/dicom
        ```

        ```python
        folder = FolderDataset(filepath="data/07_model_output/new_study/dicom").load()
        files = sorted(folder.glob("*.dcm"))
        ```
    """

    def load(self) -> Path:
        """Return the path of the folder."""
        return self._filepath

    def save(self, data: Path) -> None:
        """Check that a node worked in this folder, and create it if the node wrote nothing.

        Raises:
            ValueError: ``data`` is another folder.
        """
        if data.resolve() != self._filepath.resolve():
            raise ValueError(f"{data} is not the folder of this dataset, {self._filepath}")
        self._filepath.mkdir(parents=True, exist_ok=True)
