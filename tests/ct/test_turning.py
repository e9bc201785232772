"""Images stored in any of eight in-plane orientations give the same head."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsna19_kedro.contracts import ORIENTATION, POSITION
from rsna19_kedro.ct.turning import turn_back, turn_geometry, turn_image, turns_of

ROW, COL = np.array([1.0, 0, 0]), np.array([0, 0.96, -0.28])  # A gantry tilt.


def _stored(transposed: bool, flip_rows: bool, flip_cols: bool):
    """Return a header, and an image whose pixel values are the pixel positions in mm."""
    across, down = (COL, ROW) if transposed else (ROW, COL)
    across, down = (-1 if flip_cols else 1) * across, (-1 if flip_rows else 1) * down
    first = np.array([-10.0, -20, 30])
    spacing, size = (0.5, 0.8), (6, 9)
    header = dict(zip(POSITION, first, strict=True))
    header |= dict(zip(ORIENTATION, np.concatenate([across, down]), strict=True))
    header |= {"row_spacing_mm": spacing[0], "col_spacing_mm": spacing[1]}
    header |= {"rows": size[0], "columns": size[1]}
    return header, _pixels_mm(header)


def _pixels_mm(header) -> np.ndarray:
    """Return the (3, rows, columns) position of each pixel in the patient."""
    first, across, down = (
        np.array([header[name] for name in names], dtype=float)[:, None, None]
        for names in (POSITION, ORIENTATION[:3], ORIENTATION[3:])
    )
    rows = np.arange(int(header["rows"]))[None, :, None] * header["row_spacing_mm"]
    cols = np.arange(int(header["columns"]))[None, None, :] * header["col_spacing_mm"]
    return first + across * cols + down * rows


@pytest.mark.parametrize("way", range(8))
def test_pixels_keep_their_position_in_the_patient(way: int) -> None:
    header, pixels_mm = _stored(bool(way & 1), bool(way & 2), bool(way & 4))
    table = pd.DataFrame([header]).astype({"rows": "Int32", "columns": "Int32"})
    turned = turn_geometry(table).iloc[0]
    np.testing.assert_allclose(
        turn_image(pixels_mm, int(turned["turn"])), _pixels_mm(turned), atol=1e-9
    )
    np.testing.assert_allclose(
        turned[ORIENTATION].to_numpy(dtype=float), np.concatenate([ROW, COL]), atol=1e-12
    )
    assert turned["rows"] * turned["columns"] == 54


@given(turn=st.integers(0, 7))
def test_turning_back_undoes_it(turn: int) -> None:
    image = np.arange(2 * 3 * 5).reshape(2, 3, 5)
    np.testing.assert_array_equal(turn_back(turn_image(image, turn), turn), image)


def test_images_not_axial_or_without_orientation_are_not_turned() -> None:
    sagittal = [0, 1, 0, 0, 0, -1]
    assert turns_of([sagittal, [np.nan] * 6, [1, 0, 0, 0, 1, 0]]).tolist() == [0, 0, 0]


def test_rotations_of_less_than_45_degrees_are_not_corrected() -> None:
    angle = np.deg2rad(30)
    cos, sin = np.cos(angle), np.sin(angle)
    assert turns_of([[cos, sin, 0, -sin, cos, 0]]).tolist() == [0]
    assert turns_of([[-cos, -sin, 0, sin, -cos, 0]]).tolist() == [6]
