"""A PNG file as a Kedro dataset."""

import base64

from kedro_datasets._typing import ImagePreview  # kedro-viz recognises previews by this type.

from rsna19_kedro.datasets.local import LocalDataset
from rsna19_kedro.errors import InputError
from rsna19_kedro.files import atomic_path

SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Picture(bytes):
    """Bytes of a PNG, which notebooks show as an image."""

    def _repr_png_(self) -> bytes:
        return bytes(self)

    def __repr__(self) -> str:
        return f"Picture({len(self)} bytes of PNG)"


class PngDataset(LocalDataset[bytes]):
    """A PNG file as bytes, which notebooks show as an image.

    ``matplotlib.MatplotlibDataset`` cannot load what it saved, so another node could not put the
    figure into the report. kedro-viz shows the image as a preview.

    Example:
        ```yaml
        roc_figure:
          type: rsna19_kedro.datasets.PngDataset
          filepath: data/08_reporting/figures/roc.png
        ```

        ```python
        dataset = PngDataset(filepath="data/08_reporting/figures/roc.png")
        dataset.save(figure_png(figure))
        ```
    """

    def load(self) -> Picture:
        """Return the bytes of the file."""
        return Picture(self._filepath.read_bytes())

    def save(self, data: bytes) -> None:
        """Write the bytes atomically.

        Raises:
            InputError: The bytes are not a PNG.
        """
        if not data.startswith(SIGNATURE):
            raise InputError(
                f"{self._filepath}: not a PNG (starts with {data[:8]!r}). "
                "Encode the figure first (rsna19_kedro.evaluation.style.figure_png)."
            )
        with atomic_path(self._filepath) as part:
            part.write_bytes(data)

    def preview(self) -> ImagePreview:
        """Return the image in base64, as kedro-viz expects it."""
        return ImagePreview(base64.b64encode(self.load()).decode("ascii"))
