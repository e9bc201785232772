"""A folder that a node may work in."""

from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractDataset


class FolderDataset(AbstractDataset[Path, Path]):
    """A folder on the local disk, handed to a node as its path.

    Nodes that take hours keep what they have finished in such a folder, so that a killed
    run goes on from there; the table or checkpoint that says "finished" is a dataset of its
    own.

    Args:
        filepath: The folder; it is made when it is first loaded.
        metadata: Anything, for plugins such as kedro-viz.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = PurePosixPath(filepath)
        self.metadata = metadata

    def load(self) -> Path:
        """Make the folder if it is missing and give its path."""
        folder = Path(self._filepath)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def save(self, data: Path) -> None:
        """Check that what was worked in is this folder.

        Raises:
            ValueError: Another folder was given.
        """
        if Path(data).resolve() != Path(self._filepath).resolve():
            raise ValueError(f"{data} is not the folder of this dataset, {self._filepath}")

    def _exists(self) -> bool:
        return Path(self._filepath).is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}
