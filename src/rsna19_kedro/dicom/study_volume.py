"""One study, from its DICOM files to a prepared volume."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from rsna19_kedro.ct.study_volume import VolumeRecord, build_volume
from rsna19_kedro.dicom.pixels import read_hu
from rsna19_kedro.errors import InputError


def prepare_study(
    slices: pd.DataFrame, root: Path, crop_size_px: int
) -> tuple[np.ndarray, VolumeRecord]:
    """Decode, align and crop a study.

    A slice that cannot be decoded keeps its number and is replaced by the nearest one that can;
    see ``build_volume`` for the rest.

    Args:
        slices: Rows of ``slice_index`` of one study, by ``slice_num`` from 0.
        root: Folder that ``path`` is relative to.
        crop_size_px: Side of the square that is kept, round the centre of mass.

    Returns:
        Volume (S, crop_size_px, crop_size_px) int16 HU, at least -1024 where something was
        measured and ``PADDING_HU`` elsewhere; and its record.

    Raises:
        InputError: No slice of the study can be decoded.
    """
    decoded, repairs = _decode(root, slices["path"].tolist())
    if len(repairs) == len(decoded):
        study_id = slices["study_id"].iloc[0]
        raise InputError(f"Study {study_id}: none of its slices can be read. {repairs[0]}")
    return build_volume(slices, decoded, repairs, crop_size_px)


def _decode(root: Path, paths: Sequence[str]) -> tuple[list[np.ndarray | None], dict[int, str]]:
    decoded: list[np.ndarray | None] = []
    repairs: dict[int, str] = {}
    for number, path in enumerate(paths):
        try:
            decoded.append(read_hu(root / path))
        except InputError as error:
            decoded.append(None)
            repairs[number] = str(error).replace(f"{root}/", "")
    return decoded, repairs
