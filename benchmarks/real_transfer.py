"""Networks trained on phantoms, scored on labelled real CT: AUC per class, by configuration.

Usage:  python benchmarks/real_transfer.py REAL --folder FOLDER
            --configuration demo demo models:resnet18_400
            --configuration larger demo "models:resnet18_400,phantoms.train_studies:300"
            [--models NAME FOLDER ...] [--fold 0] [--seeds 0 1 2] [--patients ID ...]

REAL is a folder in Kaggle's layout with labelled studies. A configuration is a name, an environment
of ``conf`` and parameters as for ``kedro run --params``. For each one and each seed, phantoms are
made, the models are trained on one fold, and REAL is predicted by the mean of the models. FOLDER
keeps these projects: finished work is not repeated. ``--models`` scores models that are already
trained: folders such as ``data/06_models``, one per seed, with their second level if they have one.
``--patients`` restricts the scores, so that phantoms can be matched to other patients than those
that score them.

Prints the AUC over slices of every class (mean over the seeds) with a 95 % interval from a
bootstrap over patients, and the paired difference of each configuration from the first one. The
interval of a class with only one or two positive patients says little about other patients. Writes
``predictions_<name>_<seed>.parquet``.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from rsna19_kedro.contracts import CLASSES, PREDICTIONS
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.errors import counted
from rsna19_kedro.evaluation.metrics import roc_auc
from rsna19_kedro.prediction.members import LEVEL2, find_members
from rsna19_kedro.prediction.new_study import predict_prepared
from rsna19_kedro.prediction.settings import PredictionSettings

ROOT: Final = Path(__file__).resolve().parents[1]
_TRAINING: Final = "phantoms,ingestion,volume_prep,folds,cnn_training"
_RESAMPLES: Final = 1000

Floats = npt.NDArray[np.float64]


class Configuration(NamedTuple):
    """What networks are trained on, and how.

    Attributes:
        name: Its name in tables and folders.
        env: Environment of ``conf``.
        params: Parameters, as for ``kedro run --params``.
    """

    name: str
    env: str
    params: str


def kedro_run(project: Path, env: str, pipelines: str, params: str) -> None:
    """Run pipelines in a folder, which is made if it is missing; finished results are kept."""
    if not project.exists():
        shutil.copytree(ROOT / "conf", project / "conf", ignore=shutil.ignore_patterns("local"))
        for name in ("pyproject.toml", ".telemetry"):
            shutil.copy(ROOT / name, project)
        (project / "conf" / "local").mkdir()
        (project / "src" / "rsna19_kedro").mkdir(parents=True)
        for layer in ROOT.glob("data/0*"):
            (project / "data" / layer.name).mkdir(parents=True)
    command = [sys.executable, "-m", "kedro", "run", "--env", env, "--only-missing-outputs"]
    command += ["--pipelines", pipelines, "--params", params]
    subprocess.run(command, cwd=project, check=True)


def train(project: Path, env: str, fold: int, seed: int, params: str) -> None:
    """Make phantoms and train models on them in a folder; finished work is not repeated."""
    kedro_run(project, env, _TRAINING, f"fold:{fold},seed:{seed},{params}")


def labelled_slices(project: Path) -> pd.DataFrame:
    """Read study, slice number, patient and labels of the prepared labelled slices."""
    data = project / "data"
    index = pd.read_parquet(data / "02_intermediate" / "slice_index.parquet")
    labels = pd.read_parquet(data / "02_intermediate" / "labels.parquet")
    volumes = pd.read_parquet(data / "03_primary" / "volume_index.parquet")
    used = index[index["slice_num"].notna() & index["study_id"].isin(volumes["study_id"])]
    columns = ["sop_instance_uid", "study_id", "slice_num", "patient_id"]
    return used[columns].merge(labels, on="sop_instance_uid", validate="one_to_one")


def predict(models: Path, real: Path, slices: pd.DataFrame) -> pd.DataFrame:
    """Predict the studies of some slices with the models in a folder, and its second level."""
    members = find_members(models)
    store = VolumeStore(real / "data" / "03_primary" / "volumes")
    names = sorted(slices["study_id"].unique())
    results = predict_prepared(store, names, members, models / LEVEL2, PredictionSettings())
    tables = [result.slices.assign(study_id=result.study_id) for result in results]
    keys = ["study_id", "slice_num"]
    predicted = pd.concat(tables)[[*keys, *PREDICTIONS]]
    return slices.merge(predicted, on=keys, validate="one_to_one")


def mean_auc(tables: Sequence[pd.DataFrame], rows: npt.NDArray[np.intp]) -> Floats:
    """AUC of each class ``(6,)`` on some rows, averaged over the tables of several seeds."""
    return np.mean(
        [
            [
                roc_auc(table[name].to_numpy()[rows], table[f"pred_{name}"].to_numpy()[rows])
                for name in CLASSES
            ]
            for table in tables
        ],
        axis=0,
    )


def interval(
    patients: npt.NDArray[np.str_], score: Callable[[npt.NDArray[np.intp]], Floats]
) -> tuple[Floats, Floats, Floats]:
    """Score all rows, with the limits of a 95 % percentile interval by patient.

    A class that a sample of patients does not have is left out of that sample.
    """
    rng = np.random.default_rng(0)
    rows_of = [np.flatnonzero(patients == patient) for patient in np.unique(patients)]
    scores = np.stack(
        [
            score(
                np.concatenate([rows_of[i] for i in rng.integers(len(rows_of), size=len(rows_of))])
            )
            for _ in range(_RESAMPLES)
        ]
    )
    low, high = np.nanpercentile(scores, [2.5, 97.5], axis=0)
    return score(np.arange(len(patients))), low, high


def score_lines(by_configuration: dict[str, list[pd.DataFrame]]) -> list[str]:
    """Table of AUCs and of differences from the first configuration, in Markdown."""
    first, *others = by_configuration
    patients = by_configuration[first][0]["patient_id"].to_numpy(dtype=str)
    lines = [f"| configuration | {' | '.join(CLASSES)} |", "|---" * (len(CLASSES) + 1) + "|"]
    for name, tables in by_configuration.items():
        lines.append(_row(name, interval(patients, lambda rows, t=tables: mean_auc(t, rows))))  # type: ignore[misc]
    reference = by_configuration[first]
    for name in others:
        tables = by_configuration[name]

        def difference(rows: npt.NDArray[np.intp], tables: list[pd.DataFrame] = tables) -> Floats:
            return mean_auc(tables, rows) - mean_auc(reference, rows)

        lines.append(_row(f"{name} - {first}", interval(patients, difference)))
    return lines


def _row(name: str, values: tuple[Floats, Floats, Floats]) -> str:
    cells = (f"{v:.3f} [{low:.3f}, {high:.3f}]" for v, low, high in zip(*values, strict=True))
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Train, predict and score every configuration and seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("real", type=Path)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument(
        "--configuration",
        nargs=3,
        action="append",
        default=[],
        metavar=("NAME", "ENV", "PARAMS"),
    )
    parser.add_argument(
        "--models", nargs="+", action="append", default=[], metavar=("NAME", "FOLDER")
    )
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--patients", nargs="+", help="only these; default: all labelled ones")
    options = parser.parse_args()
    if not options.configuration and not options.models:
        parser.error("name at least one --configuration or --models")
    folder, real = options.folder.resolve(), options.folder.resolve() / "real"
    kedro_run(real, "base", "ingestion,volume_prep", f"raw_dir:{options.real.resolve()}")
    slices = labelled_slices(real)
    if options.patients:
        slices = slices[slices["patient_id"].isin(options.patients)]
    tables: dict[str, list[pd.DataFrame]] = {}
    for configuration in (Configuration(*values) for values in options.configuration):
        for seed in options.seeds:
            name, env, params = configuration
            project = folder / f"{name}_{seed}"
            train(project, env, options.fold, seed, params)
            table = predict(project / "data" / "06_models", real, slices)
            table.to_parquet(folder / f"predictions_{name}_{seed}.parquet")
            tables.setdefault(name, []).append(table)
    for name, *folders in options.models:
        tables[name] = [predict(Path(models), real, slices) for models in folders]
    print(f"{len(slices)} slices of {slices['patient_id'].nunique()} patients; positive:")
    for name in CLASSES:
        positive = slices[slices[name] == 1]
        patients = counted(positive["patient_id"].nunique(), "patient")
        print(f"  {name}: {counted(len(positive), 'slice')} of {patients}")
    print("\n".join(score_lines(tables)))


if __name__ == "__main__":
    main()
