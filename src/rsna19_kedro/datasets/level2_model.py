"""The fitted second level as a Kedro dataset."""

import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractDataset

from rsna19_kedro.ensemble.candidate import DESCRIPTION, Candidate
from rsna19_kedro.ensemble.registry import load_candidate


class Level2ModelDataset(AbstractDataset[Candidate, Candidate]):
    """A folder with ``candidate.json`` and, for boosting, CatBoost's own files.

    The folder is written beside its place and renamed, so that a killed run leaves the old
    one or the new one, never a mixture.

    Args:
        filepath: The folder, on the local disk.
        metadata: Anything, for plugins such as kedro-viz.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = PurePosixPath(filepath)
        self.metadata = metadata

    def load(self) -> Candidate:
        """Read the folder, whatever kind of candidate it holds."""
        return load_candidate(Path(self._filepath))

    def save(self, data: Candidate) -> None:
        """Replace the folder."""
        folder = Path(self._filepath)
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
        return (Path(self._filepath) / DESCRIPTION).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}
