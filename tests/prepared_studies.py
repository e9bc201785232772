"""Three small studies, and the preparation of their volumes."""

from pathlib import Path

import numpy as np
import pandas as pd

from dicom_factory import write_study
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.headers import read_headers
from rsna19_kedro.dicom.slice_index import headers_table, number_slices
from rsna19_kedro.pipelines.volume_prep.nodes import prepare_volumes
from rsna19_kedro.pipelines.volume_prep.parameters import VolumePrepParameters

PARAMS = VolumePrepParameters(crop_size_px=32, workers=1)


def index_of(raw: Path) -> pd.DataFrame:
    """Return the slice index; studies whose name starts with t belong to the test subset."""
    files = sorted(str(path.relative_to(raw)) for path in raw.rglob("*.dcm"))
    table = number_slices(
        headers_table([{**row, "subset": "train"} for row in read_headers(raw, files)]), raw
    )
    test = table["study_id"].str.startswith("t")
    return table.assign(subset=table["subset"].mask(test, "test2"))


def prepare(
    raw: Path, params: VolumePrepParameters = PARAMS
) -> tuple[VolumeStore, pd.DataFrame, pd.DataFrame]:
    index = index_of(raw)
    folder = raw.parent / "volumes"
    folder.mkdir(exist_ok=True)
    store, manifest = prepare_volumes(index, raw, folder, params)
    return store, manifest, index


def write_three_studies(folder: Path) -> Path:
    """Write study ``a`` without tilt, tilted study ``b`` and test study ``t``; return the folder.

    Their slices are a ramp from 0 to 100 HU, except for one pixel of air.
    """
    raw = folder / "raw"
    ramp = np.linspace(0, 100, 256).reshape(16, 16).round() + 1024
    ramp[0, 0] = 24
    write_study(raw, "a", z_mm=(0, 5, 10, 15), pixels=ramp)
    write_study(raw, "b", z_mm=(0, 5, 10), tilt_deg=-24, pixels=ramp)
    write_study(raw, "t", z_mm=(0, 2.4, 7.4), pixels=ramp)
    return raw
