"""The small model of this package: trained on synthetic heads, scored on real CT, and stored.

Usage:  python benchmarks/small_model.py REAL --folder FOLDER [--seed 1]

REAL is a folder in Kaggle's layout with labelled studies, used only to score. Phantoms and training
are those of ``conf/pretrain``; FOLDER keeps them, so that an interrupted run can resume. The
result replaces the model in ``networks/pretrained``, with weights of convolutions and linear layers
as fp16. On a CPU with one thread (``OMP_NUM_THREADS=1``) the same seed gives the same file; with
several, or on a GPU, predictions differ. The model in the package was trained on an H100.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from real_transfer import interval, kedro_run, labelled_slices, mean_auc, predict, train

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.networks.checkpoint import Checkpoint
from rsna19_kedro.networks.made_from import MADE_FROM, digest_weights
from rsna19_kedro.networks.training_data import REAL_SCORE, TRAINING_DATA
from rsna19_kedro.networks.zoo import PACKAGED, SMALL, SMALL_CHECKPOINT


def main() -> None:
    """Train, store and score the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("real", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder = options.folder.resolve()
    real = folder / "real"
    kedro_run(real, "base", "ingestion,volume_prep", f"raw_dir:{options.real.resolve()}")
    project = folder / f"pretrain_{options.seed}"
    train(project, "pretrain", 0, options.seed, f"models:{SMALL}")
    trained = project / "data" / "06_models" / SMALL_CHECKPOINT.relative_to(PACKAGED)
    checkpoint = Checkpoint.read(trained)
    weights = {name: half(value) for name, value in checkpoint.weights.items()}
    checkpoint = replace(checkpoint, weights=weights)
    digest = digest_weights({name: value.numpy() for name, value in weights.items()})
    checkpoint.metadata[MADE_FROM]["weights"] = digest
    checkpoint.write(SMALL_CHECKPOINT)

    table = predict(PACKAGED, real, labelled_slices(real))
    patients = table["patient_id"].to_numpy(dtype=str)
    auc, low, high = interval(patients, lambda rows: mean_auc([table], rows))
    any_class = CLASSES.index("any")
    checkpoint.metadata[TRAINING_DATA][REAL_SCORE] = {
        "auc": round(float(auc[any_class]), 4),
        "low": round(float(low[any_class]), 4),
        "high": round(float(high[any_class]), 4),
        "slices": len(table),
        "patients": len(np.unique(patients)),
    }
    checkpoint.write(SMALL_CHECKPOINT)
    for name, value in zip(CLASSES, auc, strict=True):
        print(f"AUC of {name}: {value:.3f}")
    print(f"{SMALL_CHECKPOINT.stat().st_size / 1e6:.1f} MB: {SMALL_CHECKPOINT}")


def half(weights: torch.Tensor) -> torch.Tensor:
    """Convert weights of convolutions and linear layers to fp16; others stay as they are."""
    return weights.half() if weights.ndim > 1 else weights


if __name__ == "__main__":
    main()
