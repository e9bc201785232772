"""A picture that is kept as it is: PNG bytes in, the same bytes out."""

import base64
from pathlib import Path, PurePosixPath
from typing import Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import ImagePreview

from rsna19_kedro.errors import InputError
from rsna19_kedro.files import atomic_path

SIGNATURE = b"\x89PNG\r\n\x1a\n"


class PngDataset(AbstractDataset[bytes, bytes]):
    """A PNG file as bytes.

    ``matplotlib.MatplotlibDataset`` cannot load what it saved, so a figure made by one node
    could not be put on a page by another. kedro-viz shows the picture beside its node.

    Example:
        ```yaml
        roc_figure:
          type: rsna19_kedro.datasets.png.PngDataset
          filepath: data/08_reporting/figures/roc.png
        ```
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        """Remember where the picture is.

        Args:
            filepath: Path of the PNG file; its folder is made when the file is saved.
            metadata: Read by Kedro plugins (kedro-viz: layer, preview).
        """
        self._filepath = PurePosixPath(filepath)
        self.metadata = metadata

    def load(self) -> bytes:
        """Return the file's bytes."""
        return Path(self._filepath).read_bytes()

    def save(self, data: bytes) -> None:
        """Write the bytes, whole or not at all.

        Raises:
            InputError: The bytes are no PNG.
        """
        if not data.startswith(SIGNATURE):
            raise InputError(
                f"{self._filepath}: what is to be saved starts with {data[:8]!r} and is no PNG. "
                "Encode the figure first (rsna19_kedro.evaluation.style.figure_png)."
            )
        with atomic_path(Path(self._filepath)) as part:
            part.write_bytes(data)

    def preview(self) -> ImagePreview:
        """Return the picture in base64, as kedro-viz wants it."""
        return ImagePreview(base64.b64encode(self.load()).decode("ascii"))

    def _exists(self) -> bool:
        return Path(self._filepath).is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}
