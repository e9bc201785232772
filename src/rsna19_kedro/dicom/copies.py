"""Detection of copies of one image, as opposed to images that only share its SOPInstanceUID.

SOPInstanceUIDs repeat in real archives: some converters write one fixed string, others a fixed
string and the slice number, so that all patients have the same UIDs.
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
"""Columns that identify an image if SOPInstanceUIDs are unique only within their series."""


def find_copies(
    table: pd.DataFrame, root: Path, keys: Sequence[str] = IN_SERIES
) -> tuple["pd.Series[str]", "pd.Series[str]"]:
    """Find copies of images, and images that share their UIDs with another one.

    A copy has the same position, orientation and pixels, in any transfer syntax; a file whose
    pixels cannot be decoded counts as a copy of an intact file at its position.

    Args:
        table: Rows of ``headers_table``, the file to keep first.
        root: Folder that ``path`` is relative to.
        keys: Columns that should identify an image.

    Returns:
        Two series, indexed by row: the path that each copy duplicates; and the path of the other
        image that each non-copy shares its ``keys`` with.
    """
    copies: dict[object, str] = {}
    others: dict[object, str] = {}
    table = table[table["frame"].isna()]  # Frames of one file have its SOPInstanceUID.
    repeated = table[table.duplicated(list(keys), keep=False)]
    for _, rows in repeated.groupby(list(keys), sort=False, dropna=False):
        geometry = rows[_GEOMETRY].to_numpy(dtype=float)
        kept: list[int] = []
        for number, path in enumerate(rows["path"]):
            original = next(
                (
                    earlier
                    for earlier in kept
                    if np.array_equal(geometry[earlier], geometry[number], equal_nan=True)
                    and _same_pixels(root / rows["path"].iat[earlier], root / path)
                ),
                None,
            )
            if original is not None:
                copies[rows.index[number]] = str(rows["path"].iat[original])
                continue
            if kept:
                others[rows.index[number]] = str(rows["path"].iat[kept[0]])
            kept.append(number)
    return pd.Series(copies, dtype=object), pd.Series(others, dtype=object)


def _same_pixels(first: Path, second: Path) -> bool:
    try:
        if filecmp.cmp(first, second, shallow=False):
            return True
        return bool(np.array_equal(read_hu(first), read_hu(second)))
    except (InputError, OSError):
        return True  # One of the two cannot be decoded: treat it as a copy.
