"""Time and memory of folds, second-level tables and reporting at the size of the challenge.

    python benchmarks/tables_at_full_size.py                 # 674,258 labelled slices
    python benchmarks/tables_at_full_size.py --slices 40000

All tables are synthetic, as in second_level.py. Each stage is one node, with the reading of its
tables, and runs in a separate process:

- folds: ``split_patients`` of a slice index with as many test slices as the challenge has
- level2_table: the table of ten candidates' predictions, saved as Parquet
- score_candidates: from these tables, with 1,000 bootstrap samples
- the nodes of reporting that read predictions of all slices
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
from second_level import CONF, parameters, wide_table

from rsna19_kedro.contracts import CLASSES, KEYS, PREDICTIONS
from rsna19_kedro.ensemble.judge import prediction_table
from rsna19_kedro.ensemble.level1 import FirstLevel
from rsna19_kedro.evaluation.baselines import INNER_CHOICE, PREVALENCE
from rsna19_kedro.pipelines.folds.nodes import split_patients
from rsna19_kedro.pipelines.folds.parameters import FoldsParameters
from rsna19_kedro.pipelines.reporting import nodes as reporting
from rsna19_kedro.pipelines.reporting.parameters import ReportingParameters
from rsna19_kedro.pipelines.stacking import nodes as stacking

TEST_SHARE = 121_232 / 752_803
WITH_MODELS = ("score_models", "score_folds", "plot_roc", "plot_calibration")
STACKED_ONLY = ("score_studies", "plot_decision", "find_worst", "rank_studies")
STAGES = ("folds", "level2_table", "score_candidates", "take_chosen", *WITH_MODELS, *STACKED_ONLY)


def report_parameters() -> ReportingParameters:
    """Parameters of conf/base."""
    text = (CONF.parent / "reporting.yml").read_text()
    for name in ("${runtime_params:seed, ${globals:seed}}", "${globals:seed}"):
        text = text.replace(name, "0")
    return ReportingParameters(**yaml.safe_load(text)["reporting"])


def candidates_of(wide: pd.DataFrame) -> dict[str, np.ndarray]:
    """Predictions ``(N, 6)`` of ten candidates."""
    values = FirstLevel.from_table(wide).predictions
    names = [*parameters().candidates, INNER_CHOICE, PREVALENCE]
    found = {name: values[:, k].astype(np.float64) for k, name in enumerate(names)}
    return {**found, "mean": values.mean(axis=1, dtype=np.float64)}


def write_inputs(slices: int, folder: Path) -> None:
    """Write the tables that the stages read."""
    wide = wide_table(slices)
    wide.to_parquet(folder / "level1_oof.parquet")
    long = prediction_table(wide, candidates_of(wide))
    long.to_parquet(folder / "level2_oof.parquet")
    chosen = long[long["candidate"] == "mean"].drop(columns="candidate")
    chosen.to_parquet(folder / "histogram_oof.parquet")
    labels = wide[["sop_instance_uid", *CLASSES]]
    stacked = wide[[*KEYS, "patient_id", "fold", *CLASSES]].merge(
        chosen[["sop_instance_uid", *PREDICTIONS]], on="sop_instance_uid"
    )
    stacked.to_parquet(folder / "stacked_oof.parquet")
    test = wide.head(int(TEST_SHARE * len(wide)))[list(KEYS)].assign(subset="test2")
    for name in KEYS[:2]:
        test[name] = "T" + test[name]
    index = pd.concat([wide[[*KEYS, "patient_id"]].assign(subset="train"), test])
    index.assign(problem=None).to_parquet(folder / "slice_index.parquet")
    labels.to_parquet(folder / "labels.parquet")
    studies = index.groupby("study_id", sort=True).size().rename("slices").reset_index()
    studies.to_parquet(folder / "volume_index.parquet")


def prepared(stage: str, folder: Path) -> Callable[[], object]:
    """Return the stage as a function, which reads its tables as a node does."""

    def table(name: str) -> pd.DataFrame:
        return pd.read_parquet(folder / f"{name}.parquet")

    given = report_parameters()
    if stage == "folds":
        names = ("slice_index", "labels", "volume_index")
        return lambda: split_patients(*map(table, names), FoldsParameters())
    if stage == "level2_table":
        wide = table("level1_oof")
        values = candidates_of(wide)
        return lambda: prediction_table(wide, values).to_parquet(folder / "copy.parquet")
    if stage == "score_candidates":
        names = ("level1_oof", "level2_oof")
        final = {"candidate": "mean", "corrections": [], "losses": {"mean": 0.1}}
        final |= {"correction_losses": {}, "blend_weights": {}}
        decisions = {"final": final, "folds": {}}
        return lambda: stacking.score_candidates(
            *map(table, names), decisions, table("histogram_oof"), parameters()
        )
    if stage == "take_chosen":
        names = ("level1_oof", "level2_oof")
        return lambda: reporting.take_chosen(*map(table, names), {"chosen": INNER_CHOICE})
    function = getattr(reporting, stage)
    names = ("level1_oof", "stacked_oof") if stage in WITH_MODELS else ("stacked_oof",)
    last = () if stage in ("score_models", "plot_roc", "plot_decision") else (given,)
    return lambda: function(*map(table, names), *last)


def measure(stage: str, folder: Path) -> dict[str, float | str]:
    """Measure a stage in this process."""
    run = prepared(stage, folder)
    start, cpu = time.perf_counter(), time.process_time()
    run()
    wall, used = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"stage": stage, "wall_s": round(wall, 1), "cpu_s": round(used, 1), "peak_gb": peak}


def main() -> None:
    """Print a row per stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=674_258)
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=STAGES)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            pool.submit(write_inputs, options.slices, folder).result()
        for stage in options.stages:
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                row = pool.submit(measure, stage, folder).result()
            print({**row, "peak_gb": round(float(row["peak_gb"]), 2)}, flush=True)


if __name__ == "__main__":
    main()
