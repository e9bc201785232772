"""Second level: time and memory of features and learners against the number of slices.

    python benchmarks/second_level.py                 # up to 40,000 slices, a few minutes
    python benchmarks/second_level.py --full          # up to 674,258, the challenge's size
    python benchmarks/second_level.py --figure cost.png

Each stage runs in a separate process, so that its peak memory can be measured: simulated
predictions of 11 models are made, then the stage is timed.

- window: 5 slices of all models (330 features), the input of the simplex and the MLP
- wide: CatBoost's default window, with position, length and agreement
- simplex: all six classes to a duality gap below 1e-6
- catboost, sequence: one fit with the defaults of conf/base, then one prediction of all slices

Nested cross-validation with five folds takes 15 fits per candidate, plus one for the final model.
"""

import argparse
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from simplex import plausible

from rsna19_kedro.ensemble.boosting import BoostingSettings
from rsna19_kedro.ensemble.combination import SimplexSettings
from rsna19_kedro.ensemble.features import window_features
from rsna19_kedro.ensemble.registry import build
from rsna19_kedro.ensemble.sequence import SequenceSettings
from rsna19_kedro.ensemble.settings import WindowOptions
from rsna19_kedro.evaluation.metrics import weighted_log_loss

WIDE = BoostingSettings().features.model_copy(
    update={"position": True, "length": True, "agreement": True}
)
WINDOWS = {"window": WindowOptions(radius=2), "wide": WIDE}
LEARNERS = {
    "simplex": SimplexSettings(),
    "catboost": BoostingSettings(),
    "sequence": SequenceSettings(),
}


def peak_gb() -> float:
    """Peak memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measure(stage: str, slices: int) -> dict[str, object]:
    """Time a stage in this process."""
    level, labels = plausible(slices)
    row: dict[str, object] = {"stage": stage, "slices": slices, "data_gb": peak_gb()}
    start = time.perf_counter()
    if stage in WINDOWS:
        window_features(level, WINDOWS[stage])
        return {**row, "fit_s": time.perf_counter() - start, "peak_gb": peak_gb()}
    candidate = build(LEARNERS[stage])
    candidate.fit(level, labels, level.study)
    fitted = time.perf_counter()
    loss = weighted_log_loss(labels, candidate.predict(level))
    mean = weighted_log_loss(labels, level.predictions.mean(axis=1))
    return {  # the loss is on the training slices: a check, not a score
        **row,
        "fit_s": fitted - start,
        "predict_s": time.perf_counter() - fitted,
        "peak_gb": peak_gb(),
        "loss": loss,
        "mean_loss": mean,
    }


def draw(table: pd.DataFrame, path: Path) -> None:
    """Plot time and memory against the number of slices."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    for panel, column, title in zip(
        figure.subplots(1, 2), ("fit_s", "peak_gb"), ("seconds", "peak memory, GB"), strict=True
    ):
        for marker, (stage, rows) in zip("osDv^", table.groupby("stage", sort=False), strict=False):
            panel.loglog(rows["slices"], rows[column], marker=marker, label=stage)
        panel.set(xlabel="slices", title=title)
        panel.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print the table, and plot it with ``--figure``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="up to the challenge's 674,258 slices")
    parser.add_argument("--sizes", type=int, nargs="+", default=[5_000, 20_000, 40_000])
    parser.add_argument("--stages", nargs="+", default=[*WINDOWS, *LEARNERS])
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    sizes = [*arguments.sizes, *([160_000, 674_258] if arguments.full else [])]
    rows = []
    context = multiprocessing.get_context("spawn")
    for slices in sizes:
        for stage in arguments.stages:
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                rows.append(pool.submit(measure, stage, slices).result())
            print(
                {
                    name: value if isinstance(value, str) else round(value, 4)
                    for name, value in rows[-1].items()
                },
                flush=True,
            )
    if arguments.figure:
        draw(pd.DataFrame(rows), arguments.figure)


if __name__ == "__main__":
    main()
