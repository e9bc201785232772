"""The page of new studies: worklist, slice viewer with class activation maps, series used."""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
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
class ListedStudy:
    """A row of the worklist.

    Attributes:
        number: Study number, independent of the order of the worklist.
        title: Heading; without the patient's name or ID unless the user asked for it.
        date: Study date, as ``2019-06-01``; may be empty.
        description: Series description; may be empty.
        study: Probability by class.
        slices: Number of slices.
        most_suspicious: Slice with the highest probability of any haemorrhage.
        remarks: Remarks on the study.
        page: File with the study's viewer; empty if it is on the same page.
    """

    number: int
    title: str
    date: str
    description: str
    study: Mapping[str, float]
    slices: int
    most_suspicious: int
    remarks: Sequence[str] = ()
    page: str = ""


@dataclass(frozen=True)
class ViewedStudy:
    """A study in the viewer.

    Attributes:
        number: Its number in the worklist.
        title: Heading.
        hu: ``(S, H, W)`` int16.
        slices: Rows of ``StudyResult.slices``.
        heat: See ``StudyResult``.
        facts: Term and text, such as the series used.
    """

    number: int
    title: str
    hu: np.ndarray
    slices: pd.DataFrame
    heat: np.ndarray | None
    facts: Sequence[tuple[str, str]]


def viewer_page(
    listed: Sequence[ListedStudy],
    viewed: Iterable[ViewedStudy],
    series: Sequence[Mapping[str, Any]],
    problems: Mapping[str, int],
    failed: Sequence[tuple[str, str]],
    facts: Sequence[tuple[str, str]],
    warning: str = "",
    links: Sequence[tuple[str, str]] = (),
    study_rule: str = "the highest of its slices",
) -> str:
    """Render a page; apart from its links, it needs no other file and no network.

    Args:
        listed: The worklist, most suspicious first.
        viewed: Studies with a viewer on this page, read one by one; none on an index.
        series: ``study`` (heading), ``text`` (which series) and ``reason`` of each series.
        problems: Number of skipped files, by reason.
        failed: Heading and reason of studies that could not be predicted.
        facts: Term and text about the run: models, method, versions.
        warning: Warning at the top of the page; empty for none.
        links: Text and file of other pages, on the page of a single study.
        study_rule: How the probability of a study is obtained.
    """
    viewers, data = [], []
    for study in viewed:
        data.append(_viewer_data(study))
        viewers.append(
            {
                **{"number": study.number, "title": study.title, "slices": len(study.hu)},
                **{"has_heat": study.heat is not None, "facts": study.facts},
            }
        )
    return template("viewer.html.j2").render(
        listed=listed,
        study_rule=study_rule,
        viewers=viewers,
        classes=CLASSES,
        windows=list(WINDOWS),
        series=series,
        problems=problems,
        failed=failed,
        facts=facts,
        warning=warning,
        links=links,
        data=Markup(_script_safe(data)),
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
