"""The raw download: a folder of DICOM files with its label tables."""

from pathlib import Path

from rsna19_kedro.datasets.folder import FolderDataset
from rsna19_kedro.errors import InputError

PHANTOM_MARKER = "phantoms.json"
_STARTED_MARKER = ".phantoms-started.json"


class DicomFolderDataset(FolderDataset):
    """A folder of raw data, read-only for the pipelines (but for the phantoms').

    It counts as existing when it holds something. A folder with phantoms counts only when
    their marker file stands, which is written last.
    """

    def load(self) -> Path:
        """Give the folder's path.

        Raises:
            InputError: There is no such folder, or it is empty.
        """
        folder = Path(self._filepath)
        if not folder.is_dir():
            raise InputError(
                f"The raw data folder {folder} does not exist. Name the folder of your download "
                "with --params raw_dir=PATH, or as raw_dir in conf/local/globals.yml."
            )
        if not self._exists():
            raise InputError(
                f"The raw data folder {folder} is empty. Put the download there, or name its "
                "folder with --params raw_dir=PATH."
            )
        return folder

    def _exists(self) -> bool:
        folder = Path(self._filepath)
        if not folder.is_dir():
            return False
        names = {path.name for path in folder.iterdir()} - {".gitkeep"}
        return bool(names) and (PHANTOM_MARKER in names or _STARTED_MARKER not in names)
