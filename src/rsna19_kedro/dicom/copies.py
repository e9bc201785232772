"""Files that are copies of one image, told from images that only share its SOPInstanceUID.

SOPInstanceUIDs repeat in real archives: some converters write one fixed string, some a fixed
string and the number of the slice, so that every patient has the same.
"""

import filecmp
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import ORIENTATION, POSITION
from rsna19_kedro.dicom.pixels import read_hu
from rsna19_kedro.errors import InputError

_GEOMETRY = [*POSITION, *ORIENTATION, "rows", "columns"]


IN_SERIES: Final = ("study_id", "patient_id", "series_instance_uid", "sop_instance_uid")
"""What names an image where SOPInstanceUIDs are unique in their series at most."""


def find_copies(
    table: pd.DataFrame, root: Path, keys: Sequence[str] = IN_SERIES
) -> tuple["pd.Series[str]", "pd.Series[str]"]:
    """Find copies of images, and images that share their UIDs with another one.

    A copy has the same position, orientation and pixels, in whatever transfer syntax; a file
    whose pixels cannot be decoded counts as a copy of a whole one at its position.

    Args:
        table: Rows of ``headers_table``, the file to keep first.
        root: Folder that ``path`` is relative to.
        keys: Columns that are to name one image.

    Returns:
        Two series, path by row: of which file each copy is one, and with which image each image
        that is no copy shares its ``keys``.
    """
    copies: dict[object, str] = {}
    others: dict[object, str] = {}
    table = table[table["frame"].isna()]  # Frames of one file have its SOPInstanceUID.
    again = table[table.duplicated(list(keys), keep=False)]
    for _, rows in again.groupby(list(keys), sort=False, dropna=False):
        geometry = rows[_GEOMETRY].to_numpy(dtype=float)
        kept: list[int] = []
        for number, path in enumerate(rows["path"]):
            of = next(
                (
                    one
                    for one in kept
                    if np.array_equal(geometry[one], geometry[number], equal_nan=True)
                    and _same_pixels(root / rows["path"].iat[one], root / path)
                ),
                None,
            )
            if of is not None:
                copies[rows.index[number]] = str(rows["path"].iat[of])
                continue
            if kept:
                others[rows.index[number]] = str(rows["path"].iat[kept[0]])
            kept.append(number)
    return pd.Series(copies, dtype=object), pd.Series(others, dtype=object)


def _same_pixels(one: Path, other: Path) -> bool:
    try:
        if filecmp.cmp(one, other, shallow=False):
            return True
        return bool(np.array_equal(read_hu(one), read_hu(other)))
    except (InputError, OSError):
        return True  # One of the two cannot be decoded: the other stands for it.
