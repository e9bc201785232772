"""A trained model as a Kedro dataset."""

from typing import Any

from rsna19_kedro.datasets.local import LocalDataset
from rsna19_kedro.files import empty_folder
from rsna19_kedro.networks.checkpoint import Checkpoint


class CheckpointDataset(LocalDataset[Checkpoint]):
    """A safetensors file with weights, configuration, look-up table and metadata.

    Args:
        filepath: The file.
        clears: Name of the folder next to the file that holds the resume state of the training;
            emptied after the file is saved, so that an interruption never loses both.
        metadata: Read by plugins.

    Example:
        ```yaml
        "{model}.fold_{fold}.checkpoint":
          type: rsna19_kedro.datasets.CheckpointDataset
          filepath: data/06_models/{model}/fold_{fold}/checkpoint.safetensors
          clears: resume
        ```

        ```python
        dataset = CheckpointDataset(
            filepath="data/06_models/resnet18_400/fold_0/checkpoint.safetensors"
        )
        checkpoint = dataset.load()
        ```
    """

    def __init__(
        self,
        *,
        filepath: str,
        clears: str | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(filepath=filepath, metadata=metadata)
        self._clears = clears

    def load(self) -> Checkpoint:
        """Read the file; torch is imported only here."""
        return Checkpoint.read(self._filepath)

    def save(self, data: Checkpoint) -> None:
        """Write the file atomically, then empty the folder of the resume state."""
        data.write(self._filepath)
        if self._clears is not None:
            empty_folder(self._filepath.parent / self._clears)
