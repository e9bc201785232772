"""Pictures of slices with their labels, for browsing a data set."""

import io
from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from rsna19_kedro.contracts import CLASSES

CLASS_COLOURS: Final = {
    "epidural": (230, 159, 0),
    "intraparenchymal": (213, 94, 0),
    "intraventricular": (0, 114, 178),
    "subarachnoid": (0, 158, 115),
    "subdural": (204, 121, 167),
    "any": (240, 228, 66),
}
"""Colours that remain apart with any kind of colour vision (Okabe and Ito)."""

_DOT_PX: Final = 9
_LINE_PX: Final = 14
_MARGIN_PX: Final = 6


def window_grey(hu: np.ndarray, centre: float, width: float) -> np.ndarray:
    """Grey values of a display window.

    Args:
        hu: (H, W) HU.
        centre: HU shown as mid grey.
        width: Range of HU from black to white.

    Returns:
        (H, W) uint8.
    """
    grey = (hu.astype(np.float32) - (centre - width / 2)) * (255 / width)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def draw_preview(
    hu: np.ndarray, labels: Sequence[int] | None, title: str, *, centre: float, width: float
) -> bytes:
    """Draw a slice with a coloured dot and the name of each class that it has.

    Args:
        hu: (H, W) int16 HU.
        labels: Six labels in the order of the classes; ``None`` where there are none.
        title: Text in the lower left corner.
        centre: Centre of the display window in HU.
        width: Width of the display window in HU.

    Returns:
        A PNG file.
    """
    image = Image.fromarray(window_grey(hu, centre, width)).convert("RGB")
    pen = ImageDraw.Draw(image)
    if labels is None:
        pen.text((_MARGIN_PX, _MARGIN_PX), "no labels", fill=(160, 160, 160))
        present: list[str] = []
    else:
        present = [name for name, value in zip(CLASSES, labels, strict=True) if value]
    for line, name in enumerate(present):
        top = _MARGIN_PX + line * _LINE_PX
        colour = CLASS_COLOURS[name]
        pen.ellipse((_MARGIN_PX, top, _MARGIN_PX + _DOT_PX, top + _DOT_PX), fill=colour)
        pen.text((_MARGIN_PX + _LINE_PX, top - 1), name, fill=colour)
    pen.text((_MARGIN_PX, image.height - _LINE_PX - 2), title, fill=(200, 200, 200))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()
