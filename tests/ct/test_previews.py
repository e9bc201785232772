import io

import numpy as np
from PIL import Image

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ct.previews import CLASS_COLOURS, draw_preview, window_grey


def colours(png: bytes) -> set[tuple[int, ...]]:
    image = np.asarray(Image.open(io.BytesIO(png)))
    return {tuple(int(part) for part in pixel) for pixel in np.unique(image.reshape(-1, 3), axis=0)}


def test_window_runs_from_black_to_white() -> None:
    hu = np.array([[-2000, -20, 40, 100, 3000]], dtype=np.int16)
    assert window_grey(hu, centre=40, width=120).tolist() == [[0, 0, 128, 255, 255]]


def test_only_present_classes_have_a_dot() -> None:
    hu = np.full((120, 160), 40, dtype=np.int16)
    labels = [0, 1, 0, 0, 1, 1]
    drawn = colours(draw_preview(hu, labels, "study", centre=40, width=120))
    for name, present in zip(CLASSES, labels, strict=True):
        assert (CLASS_COLOURS[name] in drawn) == bool(present)
    assert (128, 128, 128) in drawn


def test_without_labels_no_dots_are_drawn() -> None:
    hu = np.full((120, 160), 40, dtype=np.int16)
    png = draw_preview(hu, None, "study", centre=40, width=120)
    assert Image.open(io.BytesIO(png)).size == (160, 120)
    assert not set(CLASS_COLOURS.values()) & colours(png)


def test_dots_are_below_each_other_in_the_order_of_the_classes() -> None:
    hu = np.full((120, 160), -1000, dtype=np.int16)
    png = draw_preview(hu, [1] * 6, "", centre=40, width=120)
    image = np.asarray(Image.open(io.BytesIO(png))).astype(int)
    tops = [np.argwhere((image == CLASS_COLOURS[name]).all(axis=2))[:, 0].min() for name in CLASSES]
    assert tops == sorted(tops)
    assert len(set(tops)) == 6
