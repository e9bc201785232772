"""Files that the nodes read besides their inputs, for the records of their results."""

from pathlib import Path

import pandas as pd

from rsna19_kedro.provenance.declare import Files, named_from

from .parameters import VolumePrepParameters


def slice_files(raw_download: Path, slice_index: pd.DataFrame) -> Files:
    """The files of all numbered slices."""
    names = slice_index.loc[slice_index["slice_num"].notna(), "path"].unique()
    return {str(name): raw_download / str(name) for name in names}


def mask_files(raw_download: Path, params: VolumePrepParameters) -> Files:
    """All segmentation masks."""
    return named_from(raw_download, (raw_download / params.masks.folder).glob("*.nii*"))
