"""Turning of images in their plane to the orientation of a supine head-first scan.

Rows then run to the patient's left and columns to the back, for every patient position (prone,
decubitus, feet first) and for mirrored images.
"""

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rsna19_kedro.contracts import ORIENTATION, POSITION
from rsna19_kedro.ct.geometry import is_axial

TRANSPOSED: Final = 1
FLIPPED_ROWS: Final = 2
FLIPPED_COLS: Final = 4

_SPACING = ["row_spacing_mm", "col_spacing_mm"]
_SIZE = ["rows", "columns"]


def turns_of(orientation: ArrayLike) -> NDArray[np.int8]:
    """Find the turn that each image needs.

    Args:
        orientation: (N, 6) values of ImageOrientationPatient.

    Returns:
        (N,) sums of ``TRANSPOSED``, ``FLIPPED_ROWS`` and ``FLIPPED_COLS``, applied in this order;
        0 for images that need no turn, are not axial or have no valid orientation.
    """
    frames = np.asarray(orientation, dtype=float).reshape(-1, 6)
    across, down = frames[:, :3], frames[:, 3:]
    transposed = np.abs(down[:, 0]) > np.abs(across[:, 0])
    left = np.where(transposed, down[:, 0], across[:, 0])
    back = np.where(transposed, across[:, 1], down[:, 1])
    turns = transposed * TRANSPOSED + (back < 0) * FLIPPED_ROWS + (left < 0) * FLIPPED_COLS
    return np.where(is_axial(frames), turns, 0).astype(np.int8)


def turn_geometry(slices: pd.DataFrame) -> pd.DataFrame:
    """Compute the geometry of slices after their images are turned.

    Args:
        slices: Columns ``POSITION``, ``ORIENTATION``, ``row_spacing_mm``, ``col_spacing_mm``,
            ``rows`` and ``columns``, as in the files.

    Returns:
        The table for the turned images, with ``turn`` (int8, see ``turns_of``).
    """
    turns = turns_of(slices[ORIENTATION].to_numpy(dtype=float))
    turned = slices.assign(turn=turns)
    rows = np.flatnonzero(turns)
    if not len(rows):
        return turned
    turn = turns[rows]
    position, orientation = (
        slices[names].to_numpy(dtype=float)[rows] for names in (POSITION, ORIENTATION)
    )
    spacing = slices[_SPACING].to_numpy(dtype=float)[rows]
    size = slices[_SIZE].to_numpy(dtype=float, na_value=np.nan)[rows]
    across, down = orientation[:, :3], orientation[:, 3:]
    swap = (turn & TRANSPOSED > 0)[:, None]
    across, down = np.where(swap, down, across), np.where(swap, across, down)
    spacing, size = np.where(swap, spacing[:, ::-1], spacing), np.where(swap, size[:, ::-1], size)
    far_mm = np.nan_to_num((size - 1) * spacing)  # Without a spacing there is no alignment.
    for flag, direction, axis in ((FLIPPED_ROWS, down, 0), (FLIPPED_COLS, across, 1)):
        flipped = (turn & flag > 0)[:, None]
        position = np.where(flipped, position + far_mm[:, [axis]] * direction, position)
    across = np.where((turn & FLIPPED_COLS > 0)[:, None], -across, across)
    down = np.where((turn & FLIPPED_ROWS > 0)[:, None], -down, down)
    for names, values in (
        (POSITION, position),
        (ORIENTATION, np.concatenate([across, down], axis=1)),
        (_SPACING, spacing),
        (_SIZE, size),
    ):
        for number, name in enumerate(names):
            column = turned[name].to_numpy(dtype=float, na_value=np.nan).copy()
            column[rows] = values[:, number]
            turned[name] = pd.Series(column, index=turned.index).astype(turned[name].dtype)
    return turned


def turn_image(image: np.ndarray, turn: int) -> np.ndarray:
    """Turn an image or a stack of images along the last two axes; returns a view."""
    if turn & TRANSPOSED:
        image = image.swapaxes(-1, -2)
    if turn & FLIPPED_ROWS:
        image = image[..., ::-1, :]
    return image[..., ::-1] if turn & FLIPPED_COLS else image


def turn_back(image: np.ndarray, turn: int) -> np.ndarray:
    """Undo ``turn_image``; returns a view."""
    if turn & FLIPPED_COLS:
        image = image[..., ::-1]
    if turn & FLIPPED_ROWS:
        image = image[..., ::-1, :]
    return image.swapaxes(-1, -2) if turn & TRANSPOSED else image
