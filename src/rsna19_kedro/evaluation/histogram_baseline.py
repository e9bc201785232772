"""Baseline without a network: logistic regression on the HU histogram of each slice.

If it came close to the networks, the data would be too easy, such as phantoms without noise.
"""

from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd

from rsna19_kedro.contracts import CLASSES, KEYS, PREDICTIONS
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.errors import InputError
from rsna19_kedro.parallel import map_in_processes

Floats = npt.NDArray[np.float64]

HU_EDGES: Floats = np.array(
    [-200.0, -50.0, *range(0, 100, 5), 100.0, 150.0, 200.0, 300.0, 1000.0, 3100.0]
)
"""Bin edges in HU: 5 HU wide in the range of brain (20 to 45) and blood (50 to 80). Values outside
the edges, such as air, are not counted."""


def hu_histograms(volumes: VolumeStore, study_id: str) -> Floats:
    """Compute the histogram of each slice of a study.

    Args:
        volumes: Store of int16 volumes in HU.
        study_id: A study of the store.

    Returns:
        ``(S, B)`` natural logarithm of 1 + the number of pixels in each bin of ``HU_EDGES``.
    """
    volume = volumes.read(study_id)
    edges = np.ceil(HU_EDGES).astype(np.int64)
    low, high = int(edges[0]), int(edges[-1])
    counts = np.empty((len(volume), len(edges) - 1))
    for number, pixels in enumerate(volume):
        kept = pixels[(pixels >= low) & (pixels < high)].astype(np.int64) - low
        each_hu = np.bincount(kept, minlength=high - low)
        counts[number] = np.add.reduceat(each_hu, edges[:-1] - low)
    return np.log1p(counts)


def histogram_predictions(
    volumes: VolumeStore, folds: pd.DataFrame, workers: int | None = None
) -> pd.DataFrame:
    """Predict every slice by regressions fitted on the other folds.

    Args:
        volumes: Store of int16 volumes in HU.
        folds: Keys, ``patient_id``, ``fold`` and six labels.
        workers: Processes; ``None`` uses all cores.

    Returns:
        Keys, ``patient_id``, ``fold`` and six ``pred_*`` float32, by study and slice.
    """
    slices = folds.sort_values(["study_id", "slice_num"], ignore_index=True)
    features = slice_histograms(volumes, slices, workers)
    labels, fold = slices[list(CLASSES)].to_numpy(), slices["fold"].to_numpy()
    values = nested_histogram_predictions(features, labels, fold).astype(np.float32)
    predictions = pd.DataFrame(values, columns=list(PREDICTIONS))
    return pd.concat([slices[[*KEYS, "patient_id", "fold"]], predictions], axis=1)


def slice_histograms(
    volumes: VolumeStore, slices: pd.DataFrame, workers: int | None = None
) -> Floats:
    """Compute the histograms of labelled slices, in parallel over studies.

    Args:
        volumes: Store of int16 volumes in HU.
        slices: ``study_id`` and ``slice_num`` of N slices, in any order.
        workers: Processes; ``None`` uses all cores.

    Returns:
        ``(N, B)``, in the order of the slices.

    Raises:
        InputError: A slice number is missing from its volume.
    """
    features = np.empty((len(slices), len(HU_EDGES) - 1))
    numbers = slices["slice_num"].to_numpy()
    rows_of = slices.reset_index(drop=True).groupby("study_id", sort=True).indices
    studies = [str(study) for study in rows_of]
    results = map_in_processes(
        partial(hu_histograms, volumes), studies, description="HU histograms", workers=workers
    )
    for study, counts in zip(studies, results, strict=True):
        rows = rows_of[study]
        if numbers[rows].max() >= len(counts):
            raise InputError(
                f"Study {study} has slice_num {numbers[rows].max()} in folds, but its volume "
                f"has {len(counts)} slices. Run the pipelines volume_prep and folds again."
            )
        features[rows] = counts[numbers[rows]]
    return features


def nested_histogram_predictions(
    features: Floats, labels: npt.NDArray[np.integer], folds: npt.NDArray[np.integer]
) -> Floats:
    """Predict each fold by regressions fitted on the other folds, one per class.

    Args:
        features: ``(N, B)`` from ``slice_histograms``.
        labels: ``(N, 6)`` zeros and ones.
        folds: ``(N,)`` folds by patient.

    Returns:
        ``(N, 6)`` probabilities; a class that is the same on every slice of the other folds
        gets ``(positives + 1) / (slices + 2)``.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    result = np.empty((len(features), len(CLASSES)))
    for fold in np.unique(folds):
        scored = folds == fold
        for column in range(len(CLASSES)):
            target = labels[~scored, column]
            if target.min() == target.max():
                result[scored, column] = (target.sum() + 1) / (len(target) + 2)
                continue
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
            model.fit(features[~scored], target)
            result[scored, column] = model.predict_proba(features[scored])[:, 1]
    return result
