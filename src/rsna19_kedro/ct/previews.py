"""Preview images of slices with their labels, for browsing a data set."""

import io
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from rsna19_kedro.contracts import CLASSES, KEYS
from rsna19_kedro.ct.volume_store import VolumeStore

CLASS_COLOURS: Final = {
    "epidural": (230, 159, 0),
    "intraparenchymal": (213, 94, 0),
    "intraventricular": (0, 114, 178),
    "subarachnoid": (0, 158, 115),
    "subdural": (204, 121, 167),
    "any": (240, 228, 66),
}
"""Colours that are distinguishable with any kind of colour vision (Okabe and Ito)."""

_DOT_PX: Final = 9
_LINE_PX: Final = 14
_MARGIN_PX: Final = 6


def window_grey(hu: np.ndarray, centre: float, width: float) -> np.ndarray:
    """Convert HU to the grey values of a display window.

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
    """Draw a slice with a coloured dot and the name of each positive class.

    Args:
        hu: (H, W) int16 HU.
        labels: Six labels in the order of the classes, or ``None``.
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


def preview_table(
    volumes: VolumeStore, studies: pd.Series, slice_index: pd.DataFrame, count: int
) -> pd.DataFrame:
    """Select the slices to draw: those of some studies, spread evenly over all studies.

    Args:
        volumes: Prepared volumes.
        studies: ``study_id`` of each study to select from.
        slice_index: Slice index that contains their slices.
        count: Number of studies to draw.

    Returns:
        ``KEYS`` and ``preview``, the name of the image; one row per slice.
    """
    picked = np.linspace(0, len(studies) - 1, min(count, len(studies))).round().astype(int)
    shown = slice_index["slice_num"].notna() & slice_index["study_id"].isin(studies.iloc[picked])
    table = slice_index.loc[shown, list(KEYS)].astype({"slice_num": "int64"})
    table = table.sort_values(["study_id", "slice_num"], ignore_index=True)
    table["preview"] = [
        f"{volumes.path(study_id).stem}/{number:03d}"
        for study_id, number in zip(table["study_id"], table["slice_num"], strict=True)
    ]
    return table


def preview_pictures(
    volumes: VolumeStore,
    table: pd.DataFrame,
    labels: pd.DataFrame,
    window: tuple[float, float],
) -> dict[str, Callable[[], bytes]]:
    """Return functions that draw the slices of ``preview_table``, by the name of the image.

    Args:
        volumes: Prepared volumes.
        table: Slices to draw.
        labels: ``sop_instance_uid`` and six labels; some slices may be missing.
        window: Centre and width of the display window in HU.
    """
    known = labels.set_index("sop_instance_uid")[list(CLASSES)]
    present = {
        uid: known.loc[uid].tolist() for uid in table["sop_instance_uid"] if uid in known.index
    }
    return {
        row.preview: partial(
            _draw, volumes, row.study_id, row.slice_num, present.get(row.sop_instance_uid), window
        )
        for row in table.itertuples()
    }


def _draw(
    volumes: VolumeStore,
    study_id: str,
    number: int,
    labels: Sequence[int] | None,
    window: tuple[float, float],
) -> bytes:
    hu = volumes.read(study_id, number, number + 1)[0]
    title = f"{study_id}  slice {number}"
    return draw_preview(hu, labels, title, centre=window[0], width=window[1])
