"""The page of new studies: worklist, slice viewer with class activation maps, series used."""

import io
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import pandas as pd
from markupsafe import Markup
from PIL import Image

from rsna19_kedro.contracts import CLASSES, PREDICTIONS
from rsna19_kedro.ct.previews import CLASS_COLOURS, window_grey
from rsna19_kedro.evaluation.formatting import picture, template
from rsna19_kedro.parallel import available_cores

WINDOWS: Final = {"brain": (40, 80), "subdural": (80, 200), "bone": (600, 2800)}
"""Centre and width in HU."""

_HEAT_RGB: Final = (255, 64, 0)
_HEAT_ALPHA: Final = 150
_HEAT_STEPS: Final = 30
_LEAST_HEAT: Final = 0.05
_JPEG_QUALITY: Final = 72


@dataclass(frozen=True)
class ViewedStudy:
    """A study on the page.

    Attributes:
        number: Study number, independent of the order of the worklist.
        title: Heading; without the patient's name or ID unless the user asked for it.
        date: Study date, as ``2019-06-01``; may be empty.
        description: Series description; may be empty.
        hu: ``(S, H, W)`` int16.
        slices: Rows of ``StudyResult.slices``.
        study: Probability by class.
        heat: See ``StudyResult``.
        facts: Term and text, such as the series used.
    """

    number: int
    title: str
    date: str
    description: str
    hu: np.ndarray
    slices: pd.DataFrame
    study: Mapping[str, float]
    heat: np.ndarray | None
    facts: Sequence[tuple[str, str]]


def viewer_page(
    studies: Sequence[ViewedStudy],
    series: Sequence[Mapping[str, Any]],
    problems: Mapping[str, int],
    failed: Sequence[tuple[str, str]],
    facts: Sequence[tuple[str, str]],
    warning: str = "",
) -> str:
    """Render the page; it needs no other file and no network.

    Args:
        studies: In the order of the worklist, most suspicious first.
        series: ``study`` (heading), ``text`` (which series) and ``reason`` of each series.
        problems: Number of skipped files, by reason.
        failed: Heading and reason of studies that could not be predicted.
        facts: Term and text about the run: models, method, versions.
        warning: Warning at the top of the page; empty for none.
    """
    return template("viewer.html.j2").render(
        studies=studies,
        classes=CLASSES,
        windows=list(WINDOWS),
        series=series,
        problems=problems,
        failed=failed,
        facts=facts,
        warning=warning,
        data=Markup(_script_safe([_viewer_data(study) for study in studies])),
        colours=Markup(_script_safe([_hex(CLASS_COLOURS[name]) for name in CLASSES])),
    )


def _viewer_data(study: ViewedStudy) -> dict[str, Any]:
    """Data of one study for the page's script."""
    heat = None
    with ThreadPoolExecutor(available_cores()) as pool:  # Pillow releases the GIL.
        pictures = {name: list(pool.map(partial(_windowed, name), study.hu)) for name in WINDOWS}
        if study.heat is not None:
            heat = list(pool.map(_overlays, study.heat))
    return {
        "pictures": pictures,
        "heat": heat,
        "probabilities": study.slices[list(PREDICTIONS)].to_numpy(float).round(4).tolist(),
        "start": int(study.slices["pred_any"].to_numpy().argmax()),
    }


def _windowed(window: str, hu: np.ndarray) -> str:
    """Draw a slice in a window."""
    grey = window_grey(hu, *WINDOWS[window])
    return _encoded(Image.fromarray(grey), "jpeg", quality=_JPEG_QUALITY)


def _overlays(maps: np.ndarray) -> list[str]:
    """Draw class activation maps as transparent red overlays; empty strings for weak maps.

    Args:
        maps: ``(6, h, w)`` in 0..1, of one slice.
    """
    strength = np.clip(maps.astype(np.float32), 0, 1)
    return [_overlay(plane) if plane.max() >= _LEAST_HEAT else "" for plane in strength]


def _overlay(strength: np.ndarray) -> str:
    """Draw one colour with graded opacity, as a palette image, which is small."""
    image = Image.fromarray(np.rint(strength * _HEAT_STEPS).astype(np.uint8)).convert("P")
    image.putpalette(list(_HEAT_RGB) * (_HEAT_STEPS + 1))
    opacity = np.linspace(0, _HEAT_ALPHA, _HEAT_STEPS + 1).astype(np.uint8)
    return _encoded(image, "png", transparency=opacity.tobytes())


def _encoded(image: Image.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return picture(buffer.getvalue(), f"image/{kind}")


def _script_safe(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")).replace("</", "<\\/")


def _hex(colour: tuple[int, int, int]) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)
