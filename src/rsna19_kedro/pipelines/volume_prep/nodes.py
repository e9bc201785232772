"""Nodes of volume preparation."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from rsna19_kedro.cohort.mask_labels import store_masks
from rsna19_kedro.ct.lut import lut_equalising, lut_from_knots, lut_to_table, sample_slices
from rsna19_kedro.ct.previews import preview_pictures, preview_table
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.studies import prepare_studies
from rsna19_kedro.dicom.volume_index import study_checksums, training_studies
from rsna19_kedro.evaluation.lut_figure import draw_curves
from rsna19_kedro.files import warn_if_short
from rsna19_kedro.provenance.declare import result_of

from .files import mask_files, slice_files
from .parameters import VolumePrepParameters

_BYTES_PER_PIXEL = 1.0
"""Estimated compressed size of a 16-bit pixel, for the warning about free space."""


@result_of(
    ignores=("params.workers", "params.hu_lut", "params.previews", "params.masks"),
    files=slice_files,
    checksums=study_checksums,
)
def prepare_volumes(
    slice_index: pd.DataFrame,
    raw_download: Path,
    volumes_folder: Path,
    params: VolumePrepParameters,
) -> tuple[VolumeStore, pd.DataFrame]:
    """Decode, align, crop and store every study.

    A stored volume with the same files, geometry and parameters is reused, so that an interrupted
    run can resume.

    Args:
        slice_index: One row per DICOM file.
        raw_download: Folder to which its paths are relative.
        volumes_folder: Folder of the volumes.
        params: Crop size and number of processes.

    Returns:
        ``volumes`` and ``volume_index``, one row per study that has a volume.

    Raises:
        SourceError: No study can be prepared.
    """
    store = VolumeStore(volumes_folder)
    size, workers = params.crop_size_px, params.workers
    slices = int(slice_index["slice_num"].notna().sum())
    warn_if_short(volumes_folder, slices * size**2 * _BYTES_PER_PIXEL, "The prepared volumes")
    return store, prepare_studies(slice_index, raw_download, store, size, workers)


_NOT_OF_LUT = ("params.workers", "params.crop_size_px", "params.previews", "params.masks")


@result_of(ignores=_NOT_OF_LUT)
def fit_hu_lut(
    volumes: VolumeStore,
    volume_index: pd.DataFrame,
    slice_index: pd.DataFrame,
    params: VolumePrepParameters,
) -> pd.DataFrame:
    """Make the look-up table.

    Args:
        volumes: Prepared volumes.
        volume_index: Their manifest.
        slice_index: Gives the subset of each study.
        params: Kind of table, its knots, and the sample to fit to.

    Returns:
        ``hu_lut`` (``hu``, ``value``).
    """
    if params.hu_lut.kind == "knots":
        return lut_to_table(lut_from_knots(params.hu_lut.knots))
    return lut_to_table(_fitted(volumes, volume_index, slice_index, params))


@result_of(ignores=_NOT_OF_LUT)
def plot_hu_lut(
    volumes: VolumeStore,
    volume_index: pd.DataFrame,
    slice_index: pd.DataFrame,
    params: VolumePrepParameters,
) -> bytes:
    """Plot the curve of the parameters and the one fitted to the training volumes (PNG)."""
    fitted = _fitted(volumes, volume_index, slice_index, params)
    return draw_curves(lut_from_knots(params.hu_lut.knots), fitted, params.hu_lut.kind)


def _fitted(
    volumes: VolumeStore,
    volume_index: pd.DataFrame,
    slice_index: pd.DataFrame,
    params: VolumePrepParameters,
) -> np.ndarray:
    train = training_studies(volume_index, slice_index)
    options = params.hu_lut
    return lut_equalising(sample_slices(volumes, train, options.sample_slices, options.seed))


@result_of(ignores=("params.workers", "params.crop_size_px", "params.hu_lut", "params.masks"))
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
        labels: Six labels per slice.
        params: Number of studies, and the display window.

    Returns:
        PNG files named ``<study_id>/<slice number>``, each drawn only when it is saved; and
        ``preview_index``, their list, which is written last.
    """
    options = params.previews
    train = training_studies(volume_index, slice_index)["study_id"]
    table = preview_table(volumes, train, slice_index, options.studies)
    window = options.window_centre_hu, options.window_width_hu
    return preview_pictures(volumes, table, labels, window), table


@result_of(ignores=("params.workers", "params.hu_lut", "params.previews"), files=mask_files)
def label_masks(
    slice_index: pd.DataFrame,
    volume_index: pd.DataFrame,
    raw_download: Path,
    masks_folder: Path,
    params: VolumePrepParameters,
) -> tuple[VolumeStore, pd.DataFrame]:
    """Turn segmentation masks into labels, and store them aligned with their volumes.

    Args:
        slice_index: One row per DICOM file.
        volume_index: Manifest of the volumes.
        raw_download: Folder of the raw data.
        masks_folder: Folder of the aligned masks.
        params: Folder of the masks and the threshold for labels.

    Returns:
        ``masks`` and ``mask_labels``, one row per slice that a mask covers; empty without masks.
    """
    store, options = VolumeStore(masks_folder), params.masks
    folder, size = raw_download / options.folder, params.crop_size_px
    table = store_masks(folder, store, slice_index, volume_index, options.min_voxels, size)
    return store, table
