"""Labels from segmentation masks (docs/reference.md#dataset-files)."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ct.masks import UNCLASSIFIED, StudyMask, align_mask, read_mask
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.studies import study_slices
from rsna19_kedro.errors import InputError

logger = logging.getLogger(__name__)


def store_masks(
    folder: Path,
    store: VolumeStore,
    slice_index: pd.DataFrame,
    volume_index: pd.DataFrame,
    min_voxels: int,
    crop_size_px: int,
) -> pd.DataFrame:
    """Turn segmentation masks into labels, and store them aligned with their volumes.

    A mask that cannot be used is named in the log and left out: its slices keep the labels
    of the CSV.

    Args:
        folder: Holds ``<study_id>.nii.gz``.
        store: Where the aligned masks go.
        slice_index: One row per DICOM file.
        volume_index: Manifest of the volumes.
        min_voxels: See ``labels_of_mask``.
        crop_size_px: Side of the volumes' slices.

    Returns:
        ``mask_labels``: see ``labels_of_mask``; empty without masks.
    """
    files = {path.name.split(".nii")[0]: path for path in sorted(folder.glob("*.nii*"))}
    records = volume_index.set_index("study_id")
    strangers = sorted(set(files) - set(records.index))
    if strangers:
        logger.warning(
            "%d of %d masks in %s belong to no prepared study, such as %s",
            *(len(strangers), len(files), folder, strangers[0]),
        )
    tables = [labels_of_mask(StudyMask([], 0), [], min_voxels)]
    kept: set[str] = set()
    usable = slice_index["study_id"].isin(set(files) & set(records.index))
    for slices in study_slices(slice_index[usable]):
        study_id = str(slices["study_id"].iloc[0])
        try:
            mask = read_mask(files[study_id], slices)
        except InputError as error:
            logger.warning("A mask is left out: %s", error)
            continue
        if mask.lost_voxels:
            logger.warning(
                "%d voxels of the mask of study %s lie where it has no slice",
                *(mask.lost_voxels, study_id),
            )
        tables.append(labels_of_mask(mask, slices["sop_instance_uid"].tolist(), min_voxels))
        store.write(study_id, align_mask(mask, slices, records.loc[study_id], crop_size_px), {})
        kept.add(study_id)
    for study_id in set(store.study_ids()) - kept:
        store.path(study_id).unlink()
        logger.info("Removed the stored mask of study %s: there is none in %s", study_id, folder)
    logger.info("Masks of %d studies became labels", len(tables) - 1)
    return pd.concat(tables, ignore_index=True)


def labels_of_mask(
    mask: StudyMask, sop_instance_uids: Sequence[str], min_voxels: int
) -> pd.DataFrame:
    """Labels of the slices that a mask covers, counted before anything is shifted or cropped.

    Args:
        mask: Mask of a study.
        sop_instance_uids: (S,) keys of its slices.
        min_voxels: A class is present when at least so many voxels carry it (reference: more
            than 3).

    Returns:
        ``sop_instance_uid``, six uint8 labels (``any`` is the maximum of the types) and
        whether unclassified blood is present.
    """
    covered = [number for number, labels in enumerate(mask.slices) if labels is not None]
    counts = np.array(
        [np.bincount(labels.ravel(), minlength=7) for labels in mask.slices if labels is not None]
    ).reshape(-1, 7)
    present = counts >= min_voxels
    types = present[:, 1:UNCLASSIFIED]
    values = np.column_stack([types, types.any(axis=1)]).astype(np.uint8)
    table = pd.DataFrame(values, columns=list(CLASSES))
    uids = pd.Series([sop_instance_uids[number] for number in covered], dtype="str")
    table.insert(0, "sop_instance_uid", uids)
    return table.assign(unclassified=present[:, UNCLASSIFIED])
