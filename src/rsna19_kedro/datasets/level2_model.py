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

    The folder is written under a temporary name and then exchanged, so that an error leaves the old
    or the new model, never a mixture. After a kill between the two renames, the model is missing
    and is made again.

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
        return load_candidate(self._filepath)

    def save(self, data: Candidate) -> None:
        """Replace the folder.

        Raises:
            StorageError: The disk is full, read-only or unavailable.
        """
        folder = self._filepath
        with storage_errors(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
        previous = part.with_name(f"{part.name}-previous")
        try:
            with storage_errors(folder):  # Before removing the part frees space.
                part.chmod(0o755)
                data.save(part)
                if folder.exists():
                    folder.replace(previous)
                part.replace(folder)
        except BaseException:
            if previous.exists() and not folder.exists():
                previous.replace(folder)
            raise
        finally:
            for path in (part, previous):
                shutil.rmtree(path, ignore_errors=True)

    def _exists(self) -> bool:
        return (self._filepath / DESCRIPTION).is_file()
