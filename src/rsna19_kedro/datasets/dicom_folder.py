"""The raw download: a folder of DICOM files with its label tables."""

from pathlib import Path

from rsna19_kedro.contracts import PHANTOM_MARKER
from rsna19_kedro.datasets.folder import FolderDataset
from rsna19_kedro.errors import SourceError
from rsna19_kedro.provenance.fingerprint import digest

_STARTED_MARKER = ".phantoms-started.json"


class DicomFolderDataset(FolderDataset):
    """A folder of raw data; only the phantom pipeline writes to it.

    It counts as existing if it contains any file. A folder of phantoms counts only when its
    marker file, which is written last, is present.

    Example:
        ```yaml
        raw_download:
          type: rsna19_kedro.datasets.DicomFolderDataset
          filepath: ${runtime_params:raw_dir, ${globals:raw_dir}}
        ```

        ```python
        folder = DicomFolderDataset(filepath="data/01_raw").load()
        labels = folder / "stage_2_train.csv"
        ```
    """

    def load(self) -> Path:
        """Return the path of the folder.

        Raises:
            SourceError: The folder does not exist or is empty.
        """
        folder = self._filepath
        if not folder.is_dir():
            raise SourceError(
                f"The raw data folder {folder} does not exist. Set the folder of your download "
                "with --params raw_dir=PATH, or as raw_dir in conf/local/globals.yml."
            )
        if not self._exists():
            raise SourceError(
                f"The raw data folder {folder} is empty. Put the download there, or set its "
                "folder with --params raw_dir=PATH."
            )
        return folder

    def _exists(self) -> bool:
        if not self._filepath.is_dir():
            return False
        names = {path.name for path in self._filepath.iterdir()} - {".gitkeep"}
        return bool(names) and (PHANTOM_MARKER in names or _STARTED_MARKER not in names)

    def content_digest(self, path: Path) -> str:
        """Digest of the parameters of phantoms; a download is never the result of a node."""
        return digest(path / PHANTOM_MARKER)
