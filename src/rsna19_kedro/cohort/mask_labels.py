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
from rsna19_kedro.errors import InputError, counted

logger = logging.getLogger(__name__)


def store_masks(
    folder: Path,
    store: VolumeStore,
    slice_index: pd.DataFrame,
    volume_index: pd.DataFrame,
    min_voxels: int,
    crop_size_px: int,
) -> pd.DataFrame:
    """Derive labels from segmentation masks, and store the masks aligned with their volumes.

    Unusable masks are logged and left out: their slices keep the labels of the CSV.

    Args:
        folder: Folder of the files ``<study_id>.nii.gz``.
        store: Store of the aligned masks.
        slice_index: One row per DICOM file.
        volume_index: Manifest of the volumes.
        min_voxels: See ``labels_of_mask``.
        crop_size_px: Side of the volumes' slices.

    Returns:
        ``mask_labels``: see ``labels_of_mask``; empty without masks.
    """
    files = {path.name.split(".nii")[0]: path for path in sorted(folder.glob("*.nii*"))}
    records = volume_index.set_index("study_id")
    unmatched = sorted(set(files) - set(records.index))
    if unmatched:
        logger.warning(
            "%d of %s in %s without a prepared study, such as %s",
            *(len(unmatched), counted(len(files), "mask"), folder, unmatched[0]),
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
                "%s of the mask of study %s outside the slices of the study",
                *(counted(mask.lost_voxels, "voxel"), study_id),
            )
        tables.append(labels_of_mask(mask, slices["sop_instance_uid"].tolist(), min_voxels))
        store.write(study_id, align_mask(mask, slices, records.loc[study_id], crop_size_px), {})
        kept.add(study_id)
    for study_id in store.keep_only(kept):
        logger.info("Removed the stored mask of study %s: no usable mask in %s", study_id, folder)
    logger.info("Read the masks of %s", counted(len(tables) - 1, "study", "studies"))
    return pd.concat(tables, ignore_index=True)


def labels_of_mask(
    mask: StudyMask, sop_instance_uids: Sequence[str], min_voxels: int
) -> pd.DataFrame:
    """Derive the labels of the slices that a mask covers, before alignment and crop.

    Args:
        mask: Mask of a study.
        sop_instance_uids: (S,) keys of its slices.
        min_voxels: Least number of voxels of a class that is present (reference: more than 3).

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
