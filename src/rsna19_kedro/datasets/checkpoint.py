"""A trained model as a Kedro dataset."""

from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractDataset

from rsna19_kedro.files import empty_folder
from rsna19_kedro.networks.checkpoint import Checkpoint


class CheckpointDataset(AbstractDataset[Checkpoint, Checkpoint]):
    """One safetensors file with weights, configuration, look-up table and metadata.

    Args:
        filepath: The file, on the local disk.
        clears: Name of a folder beside the file that holds the training's resume state; emptied
            once the file is saved, so that a kill at any moment loses neither.
        metadata: Anything, for plugins such as kedro-viz.
    """

    def __init__(
        self,
        *,
        filepath: str,
        clears: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._filepath = PurePosixPath(filepath)
        self._clears = clears
        self.metadata = metadata

    def load(self) -> Checkpoint:
        """Read the file; torch is imported only now."""
        return Checkpoint.read(Path(self._filepath))

    def save(self, data: Checkpoint) -> None:
        """Write the file atomically, then empty the folder with the resume state."""
        path = Path(self._filepath)
        data.write(path)
        if self._clears is not None:
            empty_folder(path.parent / self._clears)

    def _exists(self) -> bool:
        return Path(self._filepath).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}
