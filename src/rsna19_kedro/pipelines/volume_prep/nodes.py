"""Nodes of the preparation of volumes."""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import CLASSES, KEYS
from rsna19_kedro.ct.lut import lut_equalising, lut_from_knots, lut_to_table
from rsna19_kedro.ct.masks import (
    align_mask,
    empty_mask_labels,
    labels_of_mask,
    read_mask,
)
from rsna19_kedro.ct.previews import draw_preview
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.studies import StudySlices, prepare_once, remove_partial_files
from rsna19_kedro.dicom.volume_index import log_outcomes, volume_table
from rsna19_kedro.errors import InputError
from rsna19_kedro.evaluation.lut_figure import draw_curves
from rsna19_kedro.parallel import map_in_processes

from .parameters import PreviewParameters, VolumePrepParameters

logger = logging.getLogger(__name__)

_WORTH_PROCESSES = 100
"""Fewer studies than this are prepared sooner by this process than others could be started."""


def prepare_volumes(
    slice_index: pd.DataFrame,
    raw_download: Path,
    volumes_folder: Path,
    params: VolumePrepParameters,
) -> tuple[VolumeStore, pd.DataFrame]:
    """Decode, align, crop and store every study.

    A study whose files, geometry and parameters are those of a stored volume is not prepared
    again, so that a killed run goes on where it was.

    Args:
        slice_index: One row a DICOM file.
        raw_download: Folder that its paths are relative to.
        volumes_folder: Where the volumes are stored.
        params: Crop size and number of processes.

    Returns:
        ``volumes`` and ``volume_index``, one row a study that has a volume.

    Raises:
        InputError: Not a single study can be prepared.
    """
    store = VolumeStore(volumes_folder)
    left_over = remove_partial_files(volumes_folder)
    if left_over:
        logger.info("Removed %d unfinished files of an earlier run", left_over)
    studies = StudySlices(slice_index)
    outcomes = list(
        map_in_processes(
            partial(prepare_once, raw_download, store, params.crop_size_px),
            studies,
            description="Preparing volumes",
            workers=1 if len(studies) < _WORTH_PROCESSES else params.workers,
        )
    )
    log_outcomes(outcomes)
    records = [outcome.record for outcome in outcomes if outcome.record is not None]
    if not records:
        reason = outcomes[0].problem if outcomes else "slice_index holds no usable slice"
        raise InputError(f"No study could be prepared: {reason}")
    return store, volume_table(records)


def fit_hu_lut(
    volumes: VolumeStore,
    volume_index: pd.DataFrame,
    slice_index: pd.DataFrame,
    params: VolumePrepParameters,
) -> tuple[pd.DataFrame, bytes]:
    """Make the look-up table, and draw it beside the one of the other kind.

    Args:
        volumes: Prepared volumes.
        volume_index: Their manifest.
        slice_index: Says which studies are for training.
        params: Knots or the sample to fit to, and which of both is used.

    Returns:
        ``hu_lut`` (``hu``, ``value``) and a PNG with both curves.
    """
    options = params.hu_lut
    drawn = lut_from_knots(options.knots)
    train = training_studies(volume_index, slice_index)
    fitted = lut_equalising(_sample(volumes, train, options.sample_slices, options.seed))
    chosen = drawn if options.kind == "knots" else fitted
    return lut_to_table(chosen), draw_curves(drawn, fitted, options.kind)


def draw_previews(
    volumes: VolumeStore,
    volume_index: pd.DataFrame,
    slice_index: pd.DataFrame,
    labels: pd.DataFrame,
    params: VolumePrepParameters,
) -> tuple[dict[str, Callable[[], bytes]], pd.DataFrame]:
    """Draw the slices of some training studies with their labels.

    Args:
        volumes: Prepared volumes.
        volume_index: Their manifest.
        slice_index: Keys and subsets.
        labels: Six labels a slice.
        params: How many studies, and the display window.

    Returns:
        PNG files named ``<study_id>/<slice number>``, each drawn only when it is saved; and
        ``preview_index``, the list of them, which is written last.
    """
    options = params.previews
    train = training_studies(volume_index, slice_index)
    places = np.linspace(0, len(train) - 1, min(options.studies, len(train))).round().astype(int)
    chosen = train["study_id"].iloc[places]
    placed = slice_index["slice_num"].notna() & slice_index["study_id"].isin(chosen)
    table = slice_index.loc[placed, list(KEYS)].astype({"slice_num": "int64"})
    table = table.sort_values(["study_id", "slice_num"], ignore_index=True)
    known = labels.set_index("sop_instance_uid")[list(CLASSES)]
    table["preview"] = [
        f"{volumes.path(study_id).stem}/{number:03d}"
        for study_id, number in zip(table["study_id"], table["slice_num"], strict=True)
    ]
    pictures: dict[str, Callable[[], bytes]] = {
        row.preview: partial(
            _draw,
            volumes,
            row.study_id,
            row.slice_num,
            known.loc[row.sop_instance_uid].tolist()
            if row.sop_instance_uid in known.index
            else None,
            options,
        )
        for row in table.itertuples()
    }
    return pictures, table


def label_masks(
    slice_index: pd.DataFrame,
    volume_index: pd.DataFrame,
    raw_download: Path,
    masks_folder: Path,
    params: VolumePrepParameters,
) -> tuple[VolumeStore, pd.DataFrame]:
    """Turn segmentation masks into labels, and store them aligned with their volumes.

    A mask that cannot be used is named in the log and left out: its slices keep the labels
    of the CSV.

    Args:
        slice_index: One row a DICOM file.
        volume_index: Manifest of the volumes.
        raw_download: Folder of the raw data.
        masks_folder: Where the aligned masks are stored.
        params: Folder of the masks and the rule for labels.

    Returns:
        ``masks`` and ``mask_labels``, one row a slice that a mask covers; empty without masks.
    """
    store = VolumeStore(masks_folder)
    folder = raw_download / params.masks.folder
    files = {path.name.split(".nii")[0]: path for path in sorted(folder.glob("*.nii*"))}
    records = volume_index.set_index("study_id")
    strangers = sorted(set(files) - set(records.index))
    if strangers:
        logger.warning(
            "%d of %d masks in %s belong to no prepared study, such as %s",
            *(len(strangers), len(files), folder, strangers[0]),
        )
    tables = [empty_mask_labels()]
    wanted = slice_index[slice_index["study_id"].isin(files)]
    for slices in StudySlices(wanted):
        study_id = str(slices["study_id"].iloc[0])
        if study_id not in records.index:
            continue
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
        uids = slices["sop_instance_uid"].tolist()
        tables.append(labels_of_mask(mask, uids, params.masks.min_voxels))
        aligned = align_mask(mask, slices, records.loc[study_id], params.crop_size_px)
        store.write(study_id, aligned, {})
    logger.info("Masks of %d studies became labels", len(tables) - 1)
    return store, pd.concat(tables, ignore_index=True)


def _draw(
    volumes: VolumeStore,
    study_id: str,
    number: int,
    labels: Sequence[int] | None,
    options: PreviewParameters,
) -> bytes:
    return draw_preview(
        volumes.read(study_id, number, number + 1)[0],
        labels,
        f"{study_id}  slice {number}",
        centre=options.window_centre_hu,
        width=options.window_width_hu,
    )


def training_studies(volume_index: pd.DataFrame, slice_index: pd.DataFrame) -> pd.DataFrame:
    """Rows of ``volume_index`` of the subset train, by study."""
    train = slice_index.loc[slice_index["subset"] == "train", "study_id"].unique()
    chosen = volume_index[volume_index["study_id"].isin(train)]
    return chosen.sort_values("study_id", ignore_index=True)


def _sample(
    volumes: VolumeStore, studies: pd.DataFrame, slices: int, seed: int
) -> Iterator[np.ndarray]:
    """Slices of the studies, each as likely as any other, drawn without replacement."""
    study = np.repeat(studies["study_id"].to_numpy(dtype=object), studies["slices"])
    number = np.concatenate([np.arange(count) for count in studies["slices"]] or [np.arange(0)])
    drawn = np.random.default_rng(seed).permutation(len(study))[:slices]
    for index in np.sort(drawn):
        yield volumes.read(str(study[index]), int(number[index]), int(number[index]) + 1)[0]
