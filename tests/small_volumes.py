"""Tiny volumes with a bright disk on positive slices, for tests of training."""

from pathlib import Path

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ct.volume_store import VolumeStore

SIDE_PX = 32


def disk_volumes(
    folder: Path, studies: int = 6, slices: int = 8
) -> tuple[VolumeStore, pd.DataFrame, pd.DataFrame]:
    """Write volumes; return the store, a folds table (2 folds) and a volume index."""
    rng = np.random.default_rng(0)
    store = VolumeStore(folder)
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX]
    rows = []
    for study in range(studies):
        volume = rng.normal(35, 5, (slices, SIDE_PX, SIDE_PX))
        for number in range(slices):
            positive = int(rng.random() < 0.5)
            if positive:
                centre = rng.uniform(10, 22, 2)
                volume[number][(y - centre[0]) ** 2 + (x - centre[1]) ** 2 < 25] += 40
            rows.append(
                {
                    "sop_instance_uid": f"ID_{study:02d}{number:02d}",
                    "study_id": f"ID_s{study}",
                    "slice_num": number,
                    "patient_id": f"ID_p{study}",
                    "fold": study % 2,
                    **dict.fromkeys(CLASSES, positive),
                }
            )
        store.write(f"ID_s{study}", volume.astype(np.int16), {})
    index = pd.DataFrame({"study_id": [f"ID_s{s}" for s in range(studies)], "slices": slices})
    return store, pd.DataFrame(rows), index


def disk_masks(store: VolumeStore, folder: Path) -> VolumeStore:
    """Write masks (value 2) of all disks except those of the last study."""
    masks = VolumeStore(folder)
    for study in store.study_ids()[:-1]:
        hu = store.read(study)
        masks.write(study, np.where(hu > 58, 2, 0).astype(np.int16), {})
    return masks
