"""Prediction tables: a row a slice and test-time variant."""

import numpy as np
import pandas as pd
import torch

from rsna19_kedro.contracts import KEYS, PREDICTIONS
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.networks.checkpoint import Checkpoint
from rsna19_kedro.parallel import progress_bar
from rsna19_kedro.prediction.study import study_logits
from rsna19_kedro.prediction.variants import VARIANTS
from rsna19_kedro.training.augmentation import network_input


def predict_slices(
    checkpoint: Checkpoint,
    store: VolumeStore,
    slices: pd.DataFrame,
    variants: tuple[str, ...],
    *,
    title: str,
    batch_slices: int = 32,
) -> pd.DataFrame:
    """Predict slices study by study.

    Args:
        checkpoint: The trained model.
        store: Prepared volumes.
        slices: Rows with ``KEYS``; whole studies or parts of them.
        variants: Names of test-time variants.
        title: Text in front of the progress bar.
        batch_slices: Slices that go through the encoder together.

    Returns:
        ``KEYS``, ``tta`` and six probabilities (float32), sorted by study, slice and the
        order of the variants.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = checkpoint.network().to(device)
    network.encoder.to(memory_format=torch.channels_last)
    lut = checkpoint.hu_lut.to(device)
    ordered = slices.sort_values(["study_id", "slice_num"], kind="stable")
    parts = []
    with progress_bar() as progress, torch.inference_mode():
        studies = ordered.groupby("study_id", sort=False)
        for study, rows in progress.track(studies, total=len(studies), description=title):
            hu = torch.from_numpy(store.read(str(study))).to(device)
            plain = network_input(hu, lut, checkpoint.crop_px, checkpoint.resize_px)
            seen = torch.stack([VARIANTS[name].apply(plain) for name in variants])
            logits = study_logits(network, seen, float(lut[0]), batch_slices=batch_slices)
            picked = torch.from_numpy(rows["slice_num"].to_numpy(np.int64, copy=True))
            probabilities = torch.sigmoid(logits[:, picked.to(device)].float()).cpu().numpy()
            parts.append(_rows(rows, probabilities, variants))
    return pd.concat(parts, ignore_index=True)


def _rows(rows: pd.DataFrame, probabilities: np.ndarray, variants: tuple[str, ...]) -> pd.DataFrame:
    """Table of ``(V, n, 6)`` probabilities of n slices."""
    table = rows[list(KEYS)].loc[rows.index.repeat(len(variants))].reset_index(drop=True)
    table["tta"] = list(variants) * len(rows)
    by_slice = probabilities.swapaxes(0, 1).reshape(-1, len(PREDICTIONS))
    table[list(PREDICTIONS)] = by_slice.astype(np.float32)
    return table
