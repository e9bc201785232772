"""Simulated first-level tables in the format of the inference pipeline, with known truth."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter1d

from rsna19_kedro.contracts import CLASSES, FOLDS, KEYS, PREDICTIONS

VARIANTS = ("normal", "hflip")
_PREVALENCE_LOGITS = np.array([-5.0, -3.0, -4.0, -3.5, -3.0])


@dataclass
class Simulation:
    """Slices with labels and folds, and the tables of every model."""

    folds: pd.DataFrame
    test_slices: pd.DataFrame
    oof: dict[tuple[str, int], pd.DataFrame]
    test: dict[tuple[str, int], pd.DataFrame]


def simulate(
    models: tuple[str, ...] = ("one", "two"), patients: int = 20, length: int = 12, seed: int = 0
) -> Simulation:
    """Simulate two studies per patient: a smooth latent along the slices, plus noise per model."""
    rng = np.random.default_rng(seed)
    folds, truth = _slices(rng, 2 * patients, length, "")
    folds["patient_id"] = [f"P{int(name[2:]) // 2:03}" for name in folds["study_id"]]
    folds["fold"] = [int(name[1:]) % len(FOLDS) for name in folds["patient_id"]]
    labels = (truth > 0).astype(np.uint8)
    folds[list(CLASSES)] = np.concatenate([labels, labels.max(axis=1, keepdims=True)], axis=1)
    test_slices, test_truth = _slices(rng, 3, length, "T")
    oof, test = {}, {}
    for model in models:
        for fold in FOLDS:
            rows = (folds["fold"] == fold).to_numpy()
            oof[model, fold] = _table(rng, folds[rows], truth[rows], model, fold)
            test[model, fold] = _table(rng, test_slices, test_truth, model, fold)
    return Simulation(folds.sample(frac=1.0, random_state=seed), test_slices, oof, test)


def _slices(
    rng: np.random.Generator, studies: int, length: int, prefix: str
) -> tuple[pd.DataFrame, np.ndarray]:
    latent = rng.standard_normal((studies, length, 5))
    latent = gaussian_filter1d(latent, 1.5, axis=1) * 5.0
    latent += _PREVALENCE_LOGITS + 2.0 * rng.standard_normal((studies, 1, 5))
    count = studies * length
    uids = [f"ID_{prefix}{number:05x}" for number in rng.permutation(count)]
    study = np.repeat([f"ST{number:03}{prefix}" for number in range(studies)], length)
    slice_num = np.tile(np.arange(length), studies)
    return pd.DataFrame(dict(zip(KEYS, (uids, study, slice_num), strict=True))), latent.reshape(
        count, 5
    )


def _table(
    rng: np.random.Generator, slices: pd.DataFrame, truth: np.ndarray, model: str, fold: int
) -> pd.DataFrame:
    noisy = truth + 1.8 * rng.standard_normal(truth.shape)
    parts = []
    for variant in VARIANTS:
        types = 1.0 / (1.0 + np.exp(-(noisy + 0.3 * rng.standard_normal(truth.shape))))
        any_type = 1.0 - np.prod(1.0 - types, axis=1, keepdims=True)
        part = slices[list(KEYS)].assign(tta=variant)
        part[list(PREDICTIONS)] = np.concatenate([types, any_type], axis=1).astype(np.float32)
        parts.append(part.assign(model=model, fold=fold))
    return pd.concat(parts).sample(frac=1.0, random_state=fold).reset_index(drop=True)
