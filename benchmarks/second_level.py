"""Second level: time and memory against the number of slices.

    python benchmarks/second_level.py                        # up to 40,000 slices, some minutes
    python benchmarks/second_level.py --sizes 674258 --trees 10 40   # the challenge's size
    python benchmarks/second_level.py --stages judge --sizes 1175 10200
    python benchmarks/second_level.py --figure cost.png

All first-level predictions are synthetic: 11 models, 34 slices per study, one study per patient.
Each stage runs in a separate process, so that its peak memory can be measured:

- collect: ``collect_oof`` of 55 tables on disk, with two test-time augmentations
- simplex, catboost, mlp, sequence: one fit with the settings of conf/base on four of five folds,
  then the prediction of the fifth
- decide: the choice for one outer fold: losses, blend, corrections
- score: the table of scores of ten candidates, with 1,000 bootstrap samples
- judge: the whole nested cross-validation, blend and corrections included

``--trees A B`` fits CatBoost with A and with B trees and extrapolates to the trees of conf/base.
From the fits follows the composed time of the nested cross-validation: 5 fits on four folds and 10
on three of them, networks in one lane and the other candidates in the other, whose threads share
their work evenly. CPU seconds are used, because other work on the machine changes the wall time.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure
from simplex import MODELS, plausible

from rsna19_kedro.contracts import CLASSES, KEYS, PREDICTIONS
from rsna19_kedro.ensemble.collect import combine_oof
from rsna19_kedro.ensemble.judge import score_table
from rsna19_kedro.ensemble.level1 import FirstLevel, prediction_columns
from rsna19_kedro.ensemble.nested import decide
from rsna19_kedro.ensemble.registry import build
from rsna19_kedro.ensemble.stack import judge_tables, labels_of
from rsna19_kedro.pipelines.stacking.parameters import StackingParameters
from rsna19_kedro.stored_table import StoredTable

CONF = Path(__file__).parents[1] / "conf" / "base" / "parameters" / "stacking.yml"
LEARNERS = ("simplex", "catboost", "mlp", "sequence")
STAGES = ("collect", *LEARNERS, "decide", "score")
NETWORKS = ("mlp", "sequence")
UNITS = (5 * 4 + 10 * 3) / 4
"""Fits of one candidate in the nested cross-validation, in fits on four folds."""


def parameters(trees: int | None = None) -> StackingParameters:
    """Parameters of conf/base."""
    text = CONF.read_text().replace("${runtime_params:seed, ${globals:seed}}", "0")
    content = yaml.safe_load(text)["stacking"]
    if trees is not None:
        content["candidates"]["catboost"]["iterations"] = trees
    return StackingParameters(**content)


def wide_table(slices: int) -> pd.DataFrame:
    """Synthetic wide first-level table."""
    level, labels = plausible(slices)
    names = [f"ID_{number:09x}" for number in range(slices)]
    table = pd.DataFrame({"sop_instance_uid": names, "slice_num": level.slice_num})
    table.insert(1, "study_id", [f"ID_{number:010x}" for number in level.study])
    table["patient_id"] = [f"ID_{number:08x}" for number in level.study]
    table["fold"] = level.study % 5
    table[list(CLASSES)] = labels
    values = level.predictions.reshape(slices, -1)
    columns = prediction_columns(MODELS)
    return pd.concat([table, pd.DataFrame(values, columns=columns, copy=False)], axis=1)


def write_tables(wide: pd.DataFrame, folder: Path) -> list[StoredTable]:
    """Write the table of each model and fold, with two equal augmentations."""
    tables = []
    for model in MODELS:
        for fold, rows in wide.groupby("fold"):
            table = rows[[*KEYS]].copy()
            table[list(PREDICTIONS)] = rows[prediction_columns([model])].to_numpy()
            table = pd.concat([table.assign(tta=name) for name in ("normal", "hflip")])
            path = folder / f"{model}_{fold}.parquet"
            table.assign(model=model, fold=fold).to_parquet(path)
            tables.append(StoredTable.open(path))
    return tables


def fit(name: str, wide: pd.DataFrame, trees: int | None) -> Callable[[], object]:
    """One fit on four folds, and the prediction of the fifth."""
    learned = (wide["fold"] > 0).to_numpy()
    patients, labels = wide["patient_id"].to_numpy(), labels_of(wide)
    level = FirstLevel.from_table(wide)
    candidate = build(parameters(trees).candidates[name])

    def run() -> object:
        candidate.fit(level.take(learned), labels[learned], patients[learned])
        return candidate.predict(level.take(~learned))

    return run


def task(stage: str, slices: int, folder: Path, trees: int | None) -> Callable[[], object]:
    """Prepare a stage; the returned function is measured."""
    wide = wide_table(slices)
    if stage in LEARNERS:
        return fit(stage, wide, trees)
    if stage == "judge":
        chosen = parameters(trees)
        return lambda: judge_tables(wide, chosen.candidates, chosen.corrections, chosen.seed)
    predictions = FirstLevel.from_table(wide).predictions.astype(np.float64)
    if stage == "score":
        given = {f"candidate_{k}": predictions[:, k % len(MODELS)] for k in range(9)}
        given["mean"] = predictions.mean(axis=1)
        return lambda: score_table(wide, given, resamples=1000, seed=0)
    rows = (wide["fold"] > 0).to_numpy()
    inside = {f"candidate_{k}": predictions[rows, k] for k in range(7)}
    labels, folds = labels_of(wide)[rows], wide["fold"].to_numpy()[rows]
    blends = {"blend": tuple(inside)}
    return lambda: decide(inside, labels, folds, blends, ("temperature", "beta", "any"))


def collecting(slices: int, folder: Path) -> Callable[[], object]:
    """Prepare ``collect_oof`` in another process, so that its memory does not count."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(prepare_tables, slices, folder).result()
    folds = pd.read_parquet(folder / "folds.parquet")
    tables = [StoredTable.open(path) for path in sorted(folder.glob("model_*.parquet"))]
    return lambda: combine_oof(folds, tables)


def prepare_tables(slices: int, folder: Path) -> None:
    """Write all first-level tables, and the folds."""
    wide = wide_table(slices)
    wide[[*KEYS, "patient_id", "fold", *CLASSES]].to_parquet(folder / "folds.parquet")
    write_tables(wide, folder)


def measure(stage: str, slices: int, trees: int | None) -> dict[str, float | str]:
    """Measure a stage in this process."""
    with tempfile.TemporaryDirectory() as folder:
        if stage == "collect":
            run = collecting(slices, Path(folder))
        else:
            run = task(stage, slices, Path(folder), trees)
        start, cpu = time.perf_counter(), time.process_time()
        run()
        wall, used = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"stage": stage, "slices": slices, "wall_s": wall, "cpu_s": used, "peak_gb": peak}


def measured(stage: str, slices: int, trees: list[int]) -> dict[str, float | str]:
    """Measure a stage in a new process; extrapolate CatBoost to all trees if asked to."""
    rows = []
    for number in trees if stage == "catboost" and trees else [None]:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            rows.append(pool.submit(measure, stage, slices, number).result())
    if len(rows) == 2:
        first, second = rows
        share = (parameters().candidates["catboost"].iterations - trees[1]) / (trees[1] - trees[0])
        for name in ("wall_s", "cpu_s"):
            second[name] += share * (second[name] - first[name])
    return rows[-1]


def composed(cpu_s: dict[str, float], cores: int) -> float:
    """Seconds of the nested cross-validation by the CPU seconds of its parts."""
    networks = UNITS * sum(cpu_s[name] for name in NETWORKS)
    others = UNITS * (cpu_s["simplex"] + cpu_s["catboost"])
    beside = min(networks, others / (cores - 1))  # Both lanes are busy.
    fits = beside + (networks - beside) + (others - beside * (cores - 1)) / cores
    return fits + 6 * cpu_s["decide"]


def draw(table: pd.DataFrame, path: Path) -> None:
    """Plot time and memory against the number of slices."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    columns = {"cpu_s": "CPU seconds", "peak_gb": "peak memory, GB"}
    for panel, (column, title) in zip(figure.subplots(1, 2), columns.items(), strict=True):
        for marker, (stage, rows) in zip(
            "osDv^Px", table.groupby("stage", sort=False), strict=False
        ):
            panel.loglog(rows["slices"], rows[column], marker=marker, label=stage)
        panel.set(xlabel="slices", title=title)
        panel.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print the table, and plot it with ``--figure``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[5_000, 20_000, 40_000])
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=[*STAGES, "judge"])
    parser.add_argument("--trees", type=int, nargs=2, default=[])
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    rows = []
    for slices in options.sizes:
        for stage in options.stages:
            rows.append(measured(stage, slices, options.trees))
            shown = {k: v if isinstance(v, str) else round(v, 2) for k, v in rows[-1].items()}
            print(shown, flush=True)
        cpu_s = {row["stage"]: row["cpu_s"] for row in rows if row["slices"] == slices}
        if {*LEARNERS, "decide"} <= cpu_s.keys():
            hours = ", ".join(f"{composed(cpu_s, n) / 60:.1f} min on {n}" for n in (2, 16))
            print(
                f"composed, nested cross-validation of {slices} slices: {hours} cores", flush=True
            )
    if options.figure:
        draw(pd.DataFrame(rows), options.figure)


if __name__ == "__main__":
    main()
