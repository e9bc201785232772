"""Balance of the folds: this project's algorithm against scikit-learn's StratifiedGroupKFold.

Patients are simulated with the challenge's numbers (docs/reference.md#data): 17,079 patients,
19,530 studies of about 34 slices, blood on runs of neighbouring slices, RSNA's prevalences.

Usage:  python benchmarks/fold_balance.py [--patients 17079] [--seeds 3]

Prints for each algorithm the largest deviation of a fold from the mean of the folds, in percent,
for slices and for the positive slices of each class, and the time in seconds.
"""

import argparse
import time

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from rsna19_kedro.cohort.folds import assign_folds, balance, patient_counts
from rsna19_kedro.contracts import CLASSES

PREVALENCE = {  # share of positive slices in stage_2_train.csv
    "epidural": 0.0042,
    "intraparenchymal": 0.048,
    "intraventricular": 0.035,
    "subarachnoid": 0.047,
    "subdural": 0.063,
}
RUN = 8.0  # slices of a study that a haemorrhage spans, on average


def simulate(patients: int, rng: np.random.Generator) -> pd.DataFrame:
    """One row per slice of simulated patients."""
    studies = 1 + rng.geometric(0.875, patients) - 1
    patient = np.repeat(np.arange(patients), studies)
    length = np.clip(rng.normal(34, 5, len(patient)).round().astype(int), 20, 60)
    study = np.repeat(np.arange(len(patient)), length)
    number = np.concatenate([np.arange(n) for n in length])
    table = pd.DataFrame({"patient_id": patient[study], "study_id": study})
    risk = rng.beta(0.6, 1.2, patients)[patient]  # correlates types and studies of a patient
    for name, share in PREVALENCE.items():
        probability = risk * share * length.mean() / RUN / risk.mean()
        has = rng.random(len(patient)) < probability
        start = (rng.random(len(patient)) * length).astype(int)
        span = rng.geometric(1 / RUN, len(patient))
        inside = (number >= start[study]) & (number < (start + span)[study])
        table[name] = (has[study] & inside).astype(np.uint8)
    table["any"] = table[list(CLASSES[:-1])].max(axis=1)
    return table


def rarest_class(table: pd.DataFrame) -> np.ndarray:
    """One label per slice for scikit-learn: its rarest positive class, or none."""
    values = table[list(CLASSES[:-1])].to_numpy()
    order = values.sum(axis=0).argsort()
    return np.where(values.any(axis=1), order[values[:, order].argmax(axis=1)], -1)


def with_sklearn(table: pd.DataFrame, labels: np.ndarray, seed: int) -> np.ndarray:
    """Folds by StratifiedGroupKFold."""
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    folds = np.empty(len(table), dtype=int)
    for fold, (_, held_out) in enumerate(splitter.split(labels, labels, table["patient_id"])):
        folds[held_out] = fold
    return folds


def with_dealing(table: pd.DataFrame, seed: int) -> np.ndarray:
    """Folds by this project's algorithm."""
    return table["patient_id"].map(assign_folds(patient_counts(table), seed)).to_numpy()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=17_079)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    rows = []
    for seed in range(options.seeds):
        table = simulate(options.patients, np.random.default_rng(seed))
        ways = {
            "dealing": lambda t=table, s=seed: with_dealing(t, s),
            "sklearn, any": lambda t=table, s=seed: with_sklearn(t, t["any"].to_numpy(), s),
            "sklearn, rarest class": lambda t=table, s=seed: with_sklearn(t, rarest_class(t), s),
        }
        for name, way in ways.items():
            start = time.perf_counter()
            folds = way()
            seconds = time.perf_counter() - start
            counts = balance(table.assign(fold=folds))[["slices", *CLASSES]]
            worst = (100 * (counts / counts.mean() - 1).abs()).max()
            rows.append({"way": name, "seed": seed, **worst.round(3), "seconds": round(seconds, 1)})
        print(f"seed {seed}: {len(table):,} slices, {table['study_id'].nunique():,} studies")
    result = pd.DataFrame(rows)
    print("largest deviation of a fold from the mean, percent")
    print(result.groupby("way").mean().drop(columns="seed").round(3).to_string())


if __name__ == "__main__":
    main()
