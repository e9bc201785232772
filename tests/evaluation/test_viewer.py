"""Data of the viewer's script: pictures of slices and transparent overlays."""

import base64
import io

import numpy as np
import pandas as pd
from PIL import Image

from rsna19_kedro.contracts import CLASSES, PREDICTIONS
from rsna19_kedro.evaluation.viewer import WINDOWS, ViewedStudy, _viewer_data


def _picture(address: str) -> np.ndarray:
    image = Image.open(io.BytesIO(base64.b64decode(address.split(",")[1])))
    return np.asarray(image.convert("RGBA"))


def _study() -> ViewedStudy:
    hu = np.full((3, 32, 32), -1000, np.int16)
    hu[1, 8:24, 8:24] = 40
    heat = np.zeros((3, len(CLASSES), 20, 20), np.float16)
    heat[1, 2, 5:10, 5:10] = 1.0
    heat[1, 3, 5:10, 5:10] = 0.5
    heat[2, 4] = 0.04
    slices = pd.DataFrame(dict.fromkeys(PREDICTIONS, np.array([0.1, 0.9, 0.2])))
    return ViewedStudy(1, "Study 1", hu, slices, heat, [])


def test_opacity_of_the_overlay_follows_the_activation() -> None:
    heat = _viewer_data(_study())["heat"]
    whole, half = _picture(heat[1][2]), _picture(heat[1][3])
    assert whole.shape == (20, 20, 4)
    assert whole[7, 7].tolist() == [255, 64, 0, 150]
    assert half[7, 7].tolist() == [255, 64, 0, 75]
    assert (whole[0, :, 3] == 0).all()
    # A weak or empty activation map has no picture.
    assert heat[2][4] == heat[0][0] == ""


def test_one_picture_per_slice_and_window_in_slice_order() -> None:
    data = _viewer_data(_study())
    assert set(data["pictures"]) == set(WINDOWS)
    brain = [_picture(address) for address in data["pictures"]["brain"]]
    assert [picture[16, 16, 0] > 100 for picture in brain] == [False, True, False]
    assert data["start"] == 1
