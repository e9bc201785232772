"""The fitted second level as a Kedro dataset."""

import shutil
import tempfile
from pathlib import Path

from rsna19_kedro.datasets.local import LocalDataset
from rsna19_kedro.ensemble.candidate import DESCRIPTION, Candidate
from rsna19_kedro.ensemble.registry import load_candidate
from rsna19_kedro.files import storage_errors


class Level2ModelDataset(LocalDataset[Candidate]):
    """A folder with ``candidate.json`` and the files of the candidate.

    The folder is written under a temporary name and then exchanged, so that an interrupted run
    leaves the old or the new model, never a mixture or neither.

    Example:
        ```yaml
        level2_model:
          type: rsna19_kedro.datasets.level2_model.Level2ModelDataset
          filepath: data/06_models/level2
        ```

        ```python
        model = Level2ModelDataset(filepath="data/06_models/level2").load()
        probabilities = model.predict(first_level)
        ```
    """

    def load(self) -> Candidate:
        """Read the folder of any kind of candidate."""
        self._recover()
        return load_candidate(self._filepath)

    def save(self, data: Candidate) -> None:
        """Replace the folder.

        Raises:
            StorageError: The disk is full, read-only or unavailable.
        """
        with storage_errors(self._filepath):
            self._exchange(data)

    def _exchange(self, data: Candidate) -> None:
        folder, previous = self._filepath, self._previous
        self._recover()
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
        try:
            part.chmod(0o755)
            data.save(part)
            shutil.rmtree(previous, ignore_errors=True)
            if folder.exists():
                folder.replace(previous)
            part.replace(folder)
        finally:
            self._recover()
            for path in (part, previous):
                shutil.rmtree(path, ignore_errors=True)

    @property
    def _previous(self) -> Path:
        """Name of the old folder during an exchange."""
        return self._filepath.with_name(f".part-{self._filepath.name}-previous")

    def _recover(self) -> None:
        """Put the old folder back if an exchange was interrupted."""
        if not self._filepath.exists() and self._previous.exists():
            self._previous.replace(self._filepath)

    def _exists(self) -> bool:
        self._recover()
        return (self._filepath / DESCRIPTION).is_file()
