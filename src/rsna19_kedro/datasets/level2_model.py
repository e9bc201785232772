"""The fitted second level as a Kedro dataset."""

import shutil
import tempfile
from pathlib import Path

from rsna19_kedro.datasets.local import LocalDataset
from rsna19_kedro.ensemble.candidate import DESCRIPTION, Candidate
from rsna19_kedro.ensemble.registry import load_candidate


class Level2ModelDataset(LocalDataset[Candidate]):
    """A folder with ``candidate.json`` and the files of the candidate.

    The folder is written under a temporary name and then renamed, so that an interrupted run
    leaves the old or the new model, never a mixture.

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
        """Replace the folder."""
        folder = self._filepath
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
        try:
            part.chmod(0o755)
            data.save(part)
            if folder.exists():
                shutil.rmtree(folder)
            part.replace(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _exists(self) -> bool:
        return (self._filepath / DESCRIPTION).is_file()
