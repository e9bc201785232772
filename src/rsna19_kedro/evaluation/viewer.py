"""The page of a new study: a worklist, a viewer of slices with overlay, what was picked."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from markupsafe import Markup
from PIL import Image

from rsna19_kedro.contracts import CLASSES, PREDICTIONS
from rsna19_kedro.ct.previews import CLASS_COLOURS, window_grey
from rsna19_kedro.evaluation.formatting import template

WINDOWS: Final = {"brain": (40, 80), "subdural": (80, 200), "bone": (600, 2800)}
"""Centre and width in HU."""

_HEAT_RGB: Final = (255, 64, 0)
_HEAT_ALPHA: Final = 150
_JPEG_QUALITY: Final = 72


@dataclass(frozen=True)
class ViewedStudy:
    """A study as the page shows it.

    Attributes:
        title: Its heading; no name or number of a patient unless the user asked for it.
        hu: ``(S, H, W)`` int16.
        slices: Rows of ``StudyResult.slices``.
        study: Probability by class.
        heat: See ``StudyResult``.
        facts: Term and text, such as the series that was picked.
    """

    title: str
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
) -> str:
    """Compose the page; it needs no other file and no network.

    Args:
        studies: In the order of the worklist, most suspicious first.
        series: ``study`` (heading), ``text`` (which series), ``reason`` of each series found.
        problems: How many files were left out, by reason.
        failed: Heading and reason of studies that could not be predicted.
        facts: Term and text about the run: models, method, versions.
    """
    return template("viewer.html.j2").render(
        studies=studies,
        classes=CLASSES,
        windows=list(WINDOWS),
        series=series,
        problems=problems,
        failed=failed,
        facts=facts,
        data=Markup(_script_safe([_viewer_data(study) for study in studies])),
        colours=Markup(_script_safe([_hex(CLASS_COLOURS[name]) for name in CLASSES])),
    )


def _viewer_data(study: ViewedStudy) -> dict[str, Any]:
    """What the page's script needs of one study."""
    pictures = {
        name: [_jpeg(window_grey(hu, centre, width)) for hu in study.hu]
        for name, (centre, width) in WINDOWS.items()
    }
    heat = None
    if study.heat is not None:
        heat = [[_overlay(plane) for plane in slices] for slices in study.heat]
    return {
        "pictures": pictures,
        "heat": heat,
        "probabilities": study.slices[list(PREDICTIONS)].to_numpy(float).round(4).tolist(),
        "start": int(study.slices["pred_any"].to_numpy().argmax()),
    }


def _jpeg(grey: np.ndarray) -> str:
    return _encoded(Image.fromarray(grey), "jpeg", quality=_JPEG_QUALITY)


def _overlay(heat: np.ndarray) -> str:
    """A transparent picture, red where the evidence is; empty where there is hardly any."""
    strength = np.clip(heat.astype(np.float32), 0, 1)
    if strength.max() < 0.05:
        return ""
    picture = np.empty((*strength.shape, 4), np.uint8)
    picture[..., :3] = _HEAT_RGB
    picture[..., 3] = np.rint(strength * _HEAT_ALPHA)
    return _encoded(Image.fromarray(picture), "png", optimize=True)


def _encoded(image: Image.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _script_safe(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")).replace("</", "<\\/")


def _hex(colour: tuple[int, int, int]) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)
