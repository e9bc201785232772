"""A classifier that tells real slices from phantoms: how much still gives phantoms away.

Usage:  python benchmarks/real_or_phantom.py REAL PHANTOMS [PHANTOMS ...]

Each argument is a folder of prepared volumes (``data/03_primary/volumes``). Of every study up to 12
slices are taken. Features: the histogram of HU from -100 to 100 in bins of 5, the mean of 16 x 16
fields of the slice (brain window), and the spectrum of the noise in the brain. A boosted tree
classifier is scored by cross-validation over studies. An AUC of 0.5 means that it cannot tell them
apart. Prints one line per folder of phantoms.
"""

import argparse
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from rsna19_kedro.ct.volume_store import VolumeStore

_SLICES: Final = 12
_MIDDLE: Final = slice(168, 232)
"""64 x 64 pixels in the middle of a slice, usually brain."""

Floats = npt.NDArray[np.float64]


def slice_features(hu: npt.NDArray[np.int16]) -> Floats:
    """Describe one slice (400, 400)."""
    counts, _ = np.histogram(hu, bins=np.arange(-100, 101, 5))
    fields = np.clip(hu, 0, 80).reshape(16, 25, 16, 25).mean(axis=(1, 3)) / 80
    middle = np.clip(hu[_MIDDLE, _MIDDLE], -20, 100).astype(float)
    power = np.abs(np.fft.rfft2(middle - middle.mean()))[1:17, 1:17]
    spectrum = np.log1p(power.reshape(4, 4, 4, 4).mean(axis=(1, 3)))
    return np.concatenate([counts / hu.size, fields.ravel(), spectrum.ravel()])


def studies_features(folder: Path, studies: int) -> tuple[Floats, npt.NDArray[np.int_]]:
    """Describe slices of the first studies of a folder; also return their study numbers."""
    store = VolumeStore(folder)
    features, groups = [], []
    for number, study in enumerate(store.study_ids()[:studies]):
        volume = store.read(study)
        for index in np.unique(np.linspace(0, len(volume) - 1, _SLICES).astype(int)):
            features.append(slice_features(volume[index]))
            groups.append(number)
    return np.stack(features), np.array(groups)


def main() -> None:
    """Print the AUC for every folder of phantoms."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("real", type=Path)
    parser.add_argument("phantoms", type=Path, nargs="+")
    parser.add_argument("--studies", type=int, default=60, help="most studies per folder")
    options = parser.parse_args()
    real, real_groups = studies_features(options.real, options.studies)
    for folder in options.phantoms:
        synthetic, groups = studies_features(folder, options.studies)
        features = np.concatenate([real, synthetic])
        truth = np.repeat([1, 0], [len(real), len(synthetic)])
        together = np.concatenate([real_groups, groups + real_groups.max() + 1])
        model = HistGradientBoostingClassifier(random_state=0)
        folds = GroupKFold(5, shuffle=True, random_state=0)
        values = cross_val_predict(
            model, features, truth, groups=together, cv=folds, method="predict_proba"
        )[:, 1]
        print(f"AUC {roc_auc_score(truth, values):.3f}: {len(synthetic)} slices of {folder}")


if __name__ == "__main__":
    main()
