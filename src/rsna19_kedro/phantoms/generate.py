"""Generation of a set of phantoms in a folder: DICOM, label CSVs, masks and the truth."""

import json
import logging
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import CLASSES, PHANTOM_MARKER
from rsna19_kedro.errors import SourceError, counted
from rsna19_kedro.files import atomic_path
from rsna19_kedro.parallel import map_in_processes
from rsna19_kedro.phantoms.dicom_writer import write_mask, write_slices
from rsna19_kedro.phantoms.head import Head, make_head
from rsna19_kedro.phantoms.placing import add_bruises, add_haemorrhages
from rsna19_kedro.phantoms.plan import (
    FOLDERS,
    PhantomSet,
    StudyPlan,
    plan_studies,
    slice_uids,
)
from rsna19_kedro.phantoms.scan import Acquisition, Scan, acquire

logger = logging.getLogger(__name__)

STARTED: Final = ".phantoms-started.json"
TRUTH: Final = "phantom_truth.parquet"
LEAST_VOXELS: Final = 4
"""Least number of voxels of a present class on a slice (docs/reference.md#dataset-files)."""

_PARTS: Final = ".phantoms"
_SUCCESSOR: Final = ".phantoms-next"
_VERSION: Final = 1


def write_phantoms(folder: Path, what: PhantomSet, *, workers: int | None = None) -> None:
    """Generate a set of phantoms, or resume an interrupted run.

    The files depend only on ``what``, not on the number of workers. A study is complete when its
    part of the truth is written, its last step; the set is complete when the marker
    ``phantoms.json`` is written.

    Args:
        folder: Raw data folder: empty, or with phantoms of the same parameters.
        what: Parameters of the set.
        workers: Number of processes; ``None`` for one per core.

    Raises:
        SourceError: The folder contains other files.
    """
    description = {"version": _VERSION, **what.model_dump(mode="json")}
    if _is_done(folder, description):
        logger.info("The phantoms in %s are complete", folder)
        _tidy(folder)
        return
    _write_json(folder / STARTED, description)
    plans = plan_studies(what)
    for name in {*FOLDERS[what.layout].values(), _PARTS, "masks"}:
        (folder / name).mkdir(parents=True, exist_ok=True)
    parts = map_in_processes(
        partial(_make_study, folder, what), plans, description="Phantoms", workers=workers
    )
    truth = pd.concat(list(parts), ignore_index=True)
    _write_tables(folder, what, truth)
    _write_json(folder / PHANTOM_MARKER, description)
    _tidy(folder)
    studies, slices = counted(len(plans), "study", "studies"), counted(len(truth), "slice")
    logger.info("Generated phantoms in %s: %s, %s", folder, studies, slices)


def replace_phantoms(folder: Path, what: PhantomSet, *, workers: int | None = None) -> None:
    """Generate a set of phantoms, and then remove an existing set with other parameters.

    Args:
        folder: Raw data folder: empty, or with phantoms.
        what: Parameters of the set.
        workers: Number of processes; ``None`` for one per core.

    Raises:
        SourceError: The folder contains files that are not phantoms.
    """
    description = {"version": _VERSION, **what.model_dump(mode="json")}
    changed = _differences(folder, description)
    successor = folder / _SUCCESSOR
    if changed:
        logger.info("Replacing the phantoms in %s: %s", folder, "; ".join(changed))
        if _differences(successor, description):
            shutil.rmtree(successor)
        write_phantoms(successor, what, workers=workers)
        _write_json(folder / STARTED, description)  # The old set is invalid from here on.
    if (successor / PHANTOM_MARKER).is_file() and not _differences(successor, description):
        _take_over(folder, successor, what)
    shutil.rmtree(successor, ignore_errors=True)
    write_phantoms(folder, what, workers=workers)


def _take_over(folder: Path, successor: Path, what: PhantomSet) -> None:
    """Move the successor's files into the folder; can be repeated after an interruption."""
    of_other_layout = {name for layout in FOLDERS.values() for name in layout.values()}
    of_other_layout -= set(FOLDERS[what.layout].values())
    if what.layout != "2019":
        of_other_layout.add("stage_1_train.csv")
    names = [path.name for path in successor.iterdir() if path.name != PHANTOM_MARKER]
    for name in (*of_other_layout, *names, PHANTOM_MARKER):  # The marker is moved last.
        old, new = folder / name, successor / name
        shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
        if new.exists():
            new.replace(old)


def build_study(what: PhantomSet, plan: StudyPlan) -> tuple[Head, Acquisition]:
    """Create the head of a study and the parameters of its scan.

    The head depends only on the patient's number, so that a second study shows the same head in
    another pose.
    """
    rng = np.random.default_rng((what.seed, 1, plan.index))
    head = make_head((what.seed, 2, plan.person))
    table = float(rng.uniform(-150, 250))  # The origin of the table position is arbitrary.
    head = replace(
        head,
        yaw_deg=float(rng.normal(0, 5)),
        pitch_deg=float(rng.normal(0, 4)),
        offset_mm=(float(rng.uniform(-6, 6)), float(rng.uniform(-5, 5)), table),
        calibration_hu=float(rng.uniform(-5, 5)),
    )
    head = add_bruises(rng, head)
    if plan.kinds:
        others = min(2 * what.small_fraction, 1.0)
        head = add_haemorrhages(rng, head, plan.kinds, small=plan.small, others_small=others)
    tilt = float(rng.choice((-1, 1)) * rng.uniform(5, 25)) if plan.tilted else 0.0
    slices = int(rng.integers(what.slices[0], what.slices[1] + 1))
    lowest = float(rng.uniform(*what.lowest_mm))
    positions = _positions(rng, slices, lowest, plan.uneven) * head.scale[2] + table
    acquisition = Acquisition(
        slice_positions_mm=tuple(float(round(z, 4)) for z in positions),
        tilt_deg=round(tilt, 2),
        pixel_spacing_mm=round(float(rng.uniform(*what.pixel_spacing_mm)), 6),
        size_px=what.size_px,
        noise_hu=float(rng.uniform(*what.noise_hu)),
        streak_hu=float(rng.uniform(2, 7)),
        holder_hu=float(rng.uniform(-250, 130)) if rng.uniform() < 0.7 else None,
    )
    return head, acquisition


def _positions(rng: np.random.Generator, slices: int, low: float, uneven: bool) -> np.ndarray:
    """Return the slice centres from ``low`` to the vertex, head coordinates, mm."""
    high = rng.uniform(70, 82)
    steps = np.ones(slices - 1)
    if uneven:
        steps[: max(1, slices // 3)] = 0.5  # Thinner slices at the base, such as 2.5 and 5 mm.
    along = np.concatenate([[0.0], np.cumsum(steps)])
    return np.asarray(low + (high - low) * along / max(along[-1], 1))


def _make_study(folder: Path, what: PhantomSet, plan: StudyPlan) -> pd.DataFrame:
    done = folder / _PARTS / f"{plan.header.study_id}.parquet"
    if done.is_file():
        return pd.read_parquet(done)
    head, acquisition = build_study(what, plan)
    scan = acquire(head, acquisition, seed=(what.seed, 3, plan.index))
    uids = slice_uids(what, plan, len(scan.hu))
    write_slices(folder / FOLDERS[what.layout][plan.subset], scan, plan.header, uids)
    if plan.masked:
        target = folder / "masks" / f"{plan.header.study_id}.nii.gz"
        write_mask(target, scan, feet_last=plan.index % 2 == 1)
    table = _truth(plan, scan, uids)
    with atomic_path(done) as part:
        table.to_parquet(part)
    return table


def _truth(plan: StudyPlan, scan: Scan, uids: list[str]) -> pd.DataFrame:
    """Return one row per slice: keys, position, labels and area of blood in mm2."""
    area = scan.acquisition.pixel_spacing_mm**2
    counts = np.stack([(scan.mask == k).sum(axis=(1, 2)) for k in range(1, 6)], axis=1)
    present = (counts >= LEAST_VOXELS).astype(np.uint8)
    table = pd.DataFrame(
        {
            "sop_instance_uid": uids,
            "study_id": plan.header.study_id,
            "patient_id": plan.header.patient_id,
            "subset": plan.subset,
            "slice_num": np.arange(len(uids)),
            "position_mm": scan.acquisition.slice_positions_mm,
            "tilt_deg": scan.acquisition.tilt_deg,
        }
    )
    table[list(CLASSES)] = np.column_stack([present, present.max(axis=1)])
    areas = np.column_stack([counts, counts.sum(axis=1)]) * area
    table[[f"area_mm2_{name}" for name in CLASSES]] = areas.astype(np.float32)
    return table


def _write_tables(folder: Path, what: PhantomSet, truth: pd.DataFrame) -> None:
    with atomic_path(folder / TRUTH) as part:
        truth.to_parquet(part)
    labelled = truth[truth["subset"] != "test2"]
    _write_labels(folder / "stage_2_train.csv", labelled)
    if what.layout == "2019":
        _write_labels(folder / "stage_1_train.csv", truth[truth["subset"] == "train"])
    sample = truth[truth["subset"] == "test2"]
    ids = sorted(f"{uid}_{name}" for uid in sample["sop_instance_uid"] for name in CLASSES)
    with atomic_path(folder / "stage_2_sample_submission.csv") as part:
        pd.DataFrame({"ID": ids, "Label": 0.5}).to_csv(part, index=False)


def _write_labels(path: Path, rows: pd.DataFrame) -> None:
    """Write Kaggle's label CSV: six rows per slice, sorted by ID."""
    ordered = rows.sort_values("sop_instance_uid")
    ids = [f"{uid}_{name}" for uid in ordered["sop_instance_uid"] for name in CLASSES]
    values = ordered[list(CLASSES)].to_numpy().ravel()
    with atomic_path(path) as part:
        pd.DataFrame({"ID": ids, "Label": values}).to_csv(part, index=False)


def _is_done(folder: Path, description: dict[str, Any]) -> bool:
    """Return whether the set is complete; raises if the folder contains anything else."""
    changed = _differences(folder, description)
    if changed:
        raise SourceError(
            f"{folder} contains phantoms made with other parameters: {'; '.join(changed)}. Delete "
            "the contents of that folder to generate them again, or set another raw_dir."
        )
    for name in (STARTED, PHANTOM_MARKER):
        if (folder / name).is_file():
            return name == PHANTOM_MARKER
    if folder.is_dir():
        foreign = sorted(p.name for p in folder.iterdir() if p.name != ".gitkeep")
        if foreign:
            raise SourceError(
                f"{folder} contains files that are not phantoms ({', '.join(foreign[:5])}"
                f"{', ...' if len(foreign) > 5 else ''}); nothing was written. To use these files, "
                "run with --params raw_dir=PATH; to generate phantoms, set an empty folder."
            )
    return False


def _differences(folder: Path, description: dict[str, Any]) -> list[str]:
    """List the parameters in which the phantoms of a folder, if any, differ."""
    for name in (STARTED, PHANTOM_MARKER):
        path = folder / name
        if path.is_file():
            stored = json.loads(path.read_text())
            return [
                f"{key} was {stored.get(key)!r}, now {description.get(key)!r}"
                for key in sorted(description.keys() | stored.keys())
                if json.dumps(description.get(key)) != json.dumps(stored.get(key))
            ]
    return []


def _tidy(folder: Path) -> None:
    """Remove the files that only an unfinished set needs."""
    shutil.rmtree(folder / _PARTS, ignore_errors=True)
    (folder / STARTED).unlink(missing_ok=True)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as part:
        part.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
