"""Results updated after a change, compared with those of a clean run.

Usage:  python benchmarks/reuse_after_changes.py [--only NAME ...] [--workers 2]

A project is run in the ``test`` environment. For each change (parameters, raw files, stored
results) two copies of it are changed and updated with ``--only-missing-outputs``: one in a single
run, the other pipeline by pipeline. Both are compared with a clean run: an empty project with the
changed parameters or raw data, or, if stored results were changed, the project before the change.
A "mixture" contains results of different folds, recipes or look-up tables; before the update, the
pipelines that would combine them must refuse to. Before the comparison, files that no node makes or
uses are removed as by ``kedro rsna19 clean --orphans``.

All files below ``data/02_intermediate`` to ``data/08_reporting`` must exist with the same bytes
(volumes: the same voxels; checkpoints: without the test-time augmentations at the time of
training), except those with times or paths: records, TensorBoard events, reports, and CatBoost
models, whose predictions are compared. About a minute per change and core. Prints one
line per change; exit status 1 if one differs.
"""

import argparse
import logging
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

# Before torch is imported: threads of parallel processes would compete for the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pandas as pd
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.errors import InputError
from rsna19_kedro.networks.checkpoint import Checkpoint
from rsna19_kedro.networks.made_from import digest_weights
from rsna19_kedro.provenance import declare
from rsna19_kedro.runners import GPURunner
from rsna19_kedro.status import orphan_paths

ROOT: Final = Path(__file__).resolve().parents[1]
PIPELINES: Final = (
    *("ingestion", "volume_prep", "folds", "cnn_training"),
    *("inference", "stacking", "reporting"),
)
_LAYERS: Final = ("02", "03", "04", "05", "06", "07", "08")
_NOT_COMPARED: Final = ("report.html", "model_card.md", "ingestion_report.md", "source.json")
"""They contain times or the folder of the project."""

Edit = Callable[[Path], None]
"""Changes files below ``data/``."""


@dataclass(frozen=True)
class Change:
    """A change to a finished project.

    Attributes:
        params: Changed parameters.
        raw: Successive changes of raw files; results are updated after each.
        stored: A change of stored results.
        version: Name of the node function whose declared version is increased.
        earlier: Pipelines to run first, each with its parameters.
        refused: Pipelines that must then raise an InputError, each with its parameters.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    raw: tuple[Edit, ...] = ()
    stored: Edit | None = None
    version: str = ""
    earlier: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    refused: tuple[tuple[str, Mapping[str, Any]], ...] = ()


def _other_label(data: Path) -> None:
    path = data / "01_raw" / "stage_2_train.csv"
    table = pd.read_csv(path)
    table.loc[0, "Label"] = 1 - table.loc[0, "Label"]
    table.to_csv(path, index=False)


def _image(data: Path, number: int = 0) -> Path:
    return sorted((data / "01_raw" / "stage_2_train").glob("*.dcm"))[number]


def _other_pixels(data: Path) -> None:
    path = _image(data)
    content = bytearray(path.read_bytes())
    content[-2000:-1000] = bytes(1000)
    path.write_bytes(bytes(content))


def _hide(pattern: str, data: Path) -> None:
    path = sorted((data / "01_raw").glob(pattern))[0]
    path.rename(data / path.name)


def _show(pattern: str, data: Path) -> None:
    folder, name = (data / "01_raw" / pattern).parent, Path(pattern).name
    path = next(data.glob(name))
    path.rename(folder / path.name)


def _swap_checkpoints(data: Path) -> None:
    first, second = (
        data / "06_models" / "resnet18_400" / f"fold_{fold}" / "checkpoint.safetensors"
        for fold in (0, 1)
    )
    first.rename(data / "kept")
    second.rename(first)
    (data / "kept").rename(second)


def _delete(pattern: str, data: Path) -> None:
    paths = sorted(data.glob(pattern))
    assert paths, pattern
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
            path.mkdir()
        else:
            path.unlink()


_FIRST = "resnet18_400"
_RATE = {"phases": {"main": {"learning_rate": 0.01}}}
_CHILD = "clf2Dc_resnet34_3x3"
_FOLDS = {"folds": {"seed": 7}}
_TABLE = {"volume_prep": {"hu_lut": {"kind": "equalise"}}}
_SOURCE = {"source": "data/01_raw/stage_2_test", "output": "refused"}
_IMAGES, _MASKS = "stage_2_train/*.dcm", "masks/*.nii.gz"

CHANGES: Final[dict[str, Change]] = {
    "a learning rate": Change({_FIRST: _RATE}),
    "the learning rate of a model that another starts from": Change({"clf2Dc_resnet34_3c": _RATE}),
    "dropout": Change({_FIRST: {"dropout": 0.25}}),
    "the network's crop": Change({_FIRST: {"input": {"crop_px": 64}}}),
    "seed": Change({"seed": 7}),
    "training.precision": Change({"training": {"precision": "bf16-mixed"}}),
    "test-time augmentations": Change({_FIRST: {"variants": ["normal"]}}),
    "prediction.precision": Change({"prediction": {"precision": "bf16-mixed"}}),
    "folds.seed": Change({"folds": {"seed": 7}}),
    "hu_lut": Change({"volume_prep": {"hu_lut": {"kind": "equalise"}}}),
    "crop_size_px": Change({"volume_prep": {"crop_size_px": 100}}),
    "previews": Change({"volume_prep": {"previews": {"studies": 2}}}),
    "masks.min_voxels": Change({"volume_prep": {"masks": {"min_voxels": 8}}}),
    "the list of models": Change({"models": _FIRST}),
    "a candidate of stacking": Change({"stacking": {"candidates": {"mlp": {"width": 9}}}}),
    "corrections": Change({"stacking": {"corrections": ["any"]}}),
    "clip_stacked": Change({"stacking": {"clip_stacked": 1e-4}}),
    "reporting.calibration_bins": Change({"reporting": {"calibration_bins": 5}}),
    "phantoms.train_studies": Change({"phantoms": {"train_studies": 16}}),
    "a flipped label": Change(raw=(_other_label,)),
    "a DICOM file replaced": Change(raw=(_other_pixels,)),
    "a DICOM file removed": Change(raw=(partial(_hide, _IMAGES),)),
    "a DICOM file added": Change(raw=(partial(_hide, _IMAGES), partial(_show, _IMAGES))),
    "a mask removed": Change(raw=(partial(_hide, _MASKS),)),
    "a mask added": Change(raw=(partial(_hide, _MASKS), partial(_show, _MASKS))),
    "checkpoints of two folds swapped": Change(stored=_swap_checkpoints),
    "a checkpoint deleted": Change(
        stored=partial(_delete, "06_models/resnet18_400/fold_2/checkpoint.safetensors")
    ),
    "volumes deleted": Change(stored=partial(_delete, "03_primary/volumes/*.b2")),
    "out-of-fold predictions deleted": Change(
        stored=partial(_delete, "07_model_output/*/fold_1/oof.parquet")
    ),
    "02_intermediate emptied": Change(stored=partial(_delete, "02_intermediate/*")),
    "03_primary emptied": Change(stored=partial(_delete, "03_primary/*")),
    "08_reporting emptied": Change(stored=partial(_delete, "08_reporting/*")),
    "code that gives the same": Change(version="rsna19_kedro.pipelines.folds.nodes.split_patients"),
    "mixture: checkpoints of other folds": Change(
        _FOLDS, earlier=(("folds", _FOLDS),), refused=(("inference", _FOLDS), ("stacking", _FOLDS))
    ),
    "mixture: the parent's checkpoint of other folds": Change(
        _FOLDS,
        earlier=(("folds", _FOLDS), ("cnn_training", _FOLDS | {"fold": 0, "models": _CHILD})),
        refused=(("inference", _FOLDS), ("stacking", _FOLDS)),
    ),
    "mixture: checkpoints of two folds swapped": Change(
        stored=_swap_checkpoints, refused=(("inference", {}), ("new_study", _SOURCE))
    ),
    "mixture: folds of two recipes": Change(
        earlier=(("cnn_training", {"fold": 0, "models": _FIRST, _FIRST: _RATE}),),
        refused=(("new_study", _SOURCE),),
    ),
    "mixture: tables of two recipes": Change(
        earlier=(
            ("cnn_training", {"fold": 0, "models": _FIRST, _FIRST: _RATE}),
            ("inference", {"fold": 0, "models": _FIRST, _FIRST: _RATE}),
        ),
        refused=(("stacking", {}),),
    ),
    "mixture: another look-up table": Change(
        earlier=(("volume_prep", _TABLE), ("cnn_training", _TABLE | {"models": _FIRST})),
        refused=(("new_study", _SOURCE),),
    ),
    "mixture: a second level on older tables": Change(
        earlier=(
            ("cnn_training", {"models": _FIRST, _FIRST: _RATE}),
            ("inference", {"models": _FIRST, _FIRST: _RATE}),
        ),
        refused=(("new_study", _SOURCE),),
    ),
    "mixture: volumes smaller than the crop": Change(
        earlier=(("volume_prep", {"volume_prep": {"crop_size_px": 24}}),),
        refused=(("inference", {}),),
    ),
}


def copy_of(finished: Path, target: Path) -> Path:
    """Copy a project; hard-link files that are only replaced as a whole."""

    def copy(origin: str, copied: str) -> str:
        if origin.endswith((".safetensors", ".b2")):
            os.link(origin, copied)
            return copied
        return str(shutil.copy2(origin, copied))

    shutil.copytree(finished, target, copy_function=copy)
    return target


def empty(target: Path) -> Path:
    """Make a project without results."""
    shutil.copytree(ROOT / "conf", target / "conf", ignore=shutil.ignore_patterns("local"))
    shutil.copy(ROOT / "pyproject.toml", target)
    (target / "conf" / "local").mkdir()
    (target / "src" / "rsna19_kedro").mkdir(parents=True)
    for layer in ROOT.glob("data/0*"):
        (target / "data" / layer.name).mkdir(parents=True)
    return target


def run(
    project: Path, params: Mapping[str, Any], *pipelines: str, only_outdated: bool = False
) -> None:
    """Run pipelines in one session of this process; the default pipeline if none is named."""
    os.chdir(project)
    bootstrap_project(project)
    with KedroSession.create(
        project_path=project, env="test", runtime_params=dict(params)
    ) as session:
        assert isinstance(session, KedroSession)
        session.run(
            pipeline_names=list(pipelines) or None,
            runner=GPURunner(),
            only_missing_outputs=only_outdated,
        )


def clean_run(change: Change, finished: Path, target: Path) -> Path:
    """Make the expected results of the changed project from raw data."""
    if not (change.params or change.raw):
        return finished
    project = empty(target)
    if not change.raw:
        run(project, change.params)
        return project
    shutil.copytree(finished / "data" / "01_raw", project / "data" / "01_raw", dirs_exist_ok=True)
    for edit in change.raw:
        edit(project / "data")
    run(project, change.params, *PIPELINES)
    return project


def bring_up_to_date(change: Change, project: Path, *, at_once: bool) -> Path:
    """Make the change in a finished project and run what is out of date."""
    for pipeline, params in change.earlier:
        run(project, params, pipeline)
    for edit in change.raw or (change.stored,):
        if edit is not None:
            edit(project / "data")
        for pipeline, params in change.refused:
            with suppress(InputError):
                run(project, params, pipeline)
                raise RuntimeError(f"{pipeline} was not refused.")
        if at_once:
            run(project, change.params, only_outdated=True)
            continue
        for name in ("phantoms", *PIPELINES):
            run(project, change.params, name, only_outdated=True)
    for path in orphan_paths(project, "test", dict(change.params)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return project


def contents(project: Path) -> dict[str, bytes]:
    """Content of the compared files, by their paths below ``data/``."""
    data = project / "data"
    return {
        str(path.relative_to(data)): _content(path)
        for layer in _LAYERS
        for path in data.glob(f"{layer}_*/**/*")
        if path.is_file()
        and not path.name.startswith(".")
        and path.name not in _NOT_COMPARED
        and path.suffix != ".cbm"
        and not {"tensorboard", "resume", "logs", "new_study"}.intersection(path.parts)
    }


def _content(path: Path) -> bytes:
    if path.suffix == ".b2":  # The file contains a time.
        return VolumeStore(path.parent).read(path.stem).tobytes()
    if path.name == "checkpoint.safetensors":
        checkpoint = Checkpoint.read(path)
        del checkpoint.metadata["recipe"]["variants"]
        tensors = {**checkpoint.weights, "hu_lut": checkpoint.hu_lut}
        digest = digest_weights({name: value.numpy() for name, value in tensors.items()})
        return f"{digest} {checkpoint.metadata}".encode()
    return path.read_bytes()


def differing(project: Path, clean: Path) -> list[str]:
    """Paths whose content differs, or that exist in only one of the projects."""
    old, new = contents(clean), contents(project)
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def check(name: str, finished: Path) -> tuple[str, float, dict[str, list[str]]]:
    """Test one change; return its name, the seconds, and the differences by kind of update."""
    logging.disable(logging.CRITICAL)
    start, change = time.monotonic(), CHANGES[name]
    differences = {}
    with tempfile.TemporaryDirectory(dir=finished.parent) as folder:
        clean = clean_run(change, finished, Path(folder) / "clean")
        _raise_version(change.version)
        for way in ("at once", "pipeline by pipeline"):
            project = copy_of(finished, Path(folder) / way.replace(" ", "_"))
            bring_up_to_date(change, project, at_once=way == "at once")
            paths = differing(project, clean)
            if paths:
                differences[way] = paths
        os.chdir(ROOT)
    return name, time.monotonic() - start, differences


def _raise_version(function: str) -> None:
    if function:
        module, _, name = function.rpartition(".")
        target = getattr(__import__(module, fromlist=[name]), name)
        declare.result_of(**{**vars(declare.declaration_of(target)), "version": 2})(target)


def main() -> None:
    """Print one line per change."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=CHANGES, default=list(CHANGES))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="working folder; needs 5 GB")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        finished = empty(Path(folder) / "finished")
        run(finished, {})
        os.chdir(ROOT)
        failed = 0
        with ProcessPoolExecutor(
            options.workers, multiprocessing.get_context("spawn"), max_tasks_per_child=1
        ) as pool:
            jobs = {pool.submit(check, name, finished): name for name in options.only}
            for job in as_completed(jobs):
                try:
                    name, seconds, differences = job.result()
                except Exception as error:
                    name, seconds, differences = jobs[job], 0.0, {"error": [repr(error)[:300]]}
                failed += bool(differences)
                print(
                    f"{'DIFFERS' if differences else 'equal':8}{seconds:6.0f} s  {name}", flush=True
                )
                for way, names in differences.items():
                    print(f"          {way}: {len(names)}: {', '.join(names[:8])}", flush=True)
    print(f"{len(options.only) - failed} of {len(options.only)} equal")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
