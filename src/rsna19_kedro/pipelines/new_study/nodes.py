"""Nodes of the prediction of new studies. Torch is imported when a node runs."""

import logging
import platform
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import CLASSES, PREDICTIONS
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom import new_source
from rsna19_kedro.errors import InputError, counted
from rsna19_kedro.files import empty_folder
from rsna19_kedro.pipelines.new_study.parameters import NewStudyParameters
from rsna19_kedro.prediction.settings import PredictionSettings
from rsna19_kedro.version import package_versions

logger = logging.getLogger(__name__)


def prepare_source(
    volumes: Path, params: NewStudyParameters
) -> tuple[VolumeStore, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Find the series, pick one a study, prepare it.

    Args:
        volumes: Folder for the prepared volumes; emptied first.
        params: Names the source.

    Returns:
        The volumes; ``new_slices`` (``study_id``, ``slice_num``, ``sop_instance_uid``);
        ``new_series`` (see ``pick_series``); and the findings: files read, files left out by
        reason, studies that could not be predicted, and, if wanted, patients.

    Raises:
        InputError: No source named, or nothing in it that can be predicted; says what is.
    """
    if params.source is None:
        raise InputError("Name what to predict: --params source=PATH (a folder, file or zip).")
    empty_folder(volumes)
    store = VolumeStore(volumes)
    prepared = new_source.prepare_source(
        Path(params.source).expanduser(),
        store,
        crop_size_px=params.crop_size_px,
        max_unpacked_bytes=int(params.max_unpacked_gib * 2**30),
        include_phi=params.include_phi,
    )
    series, findings = prepared.series, prepared.findings
    numbers = _numbers(prepared.slices["study_id"].unique(), findings)
    for _, row in series.iterrows():
        text = _series_text(row, params.include_phi)
        logger.info("%s: %s: %s", numbers.get(row["study_id"], "No study"), text, row["reason"])
    for reason, count in findings["problems"].items():
        logger.warning("%s left out: %s", counted(count, "file"), reason)
    for name, remarks in findings["remarks"].items():
        for remark in remarks:
            logger.warning("%s: %s", numbers[name], remark)
    for name, reason in findings["failed"].items():
        logger.warning("%s (%s) cannot be predicted: %s", numbers[name], name, reason)
    if not params.include_phi:
        series = series.assign(description="")  # Free text: it may name a patient.
    return store, prepared.slices, series, findings


def predict_new(
    volumes: VolumeStore,
    slices: pd.DataFrame,
    models: Path,
    heat: Path,
    params: NewStudyParameters,
    prediction: PredictionSettings,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Predict the prepared studies with every trained model that was asked for.

    Returns:
        ``new_predictions`` twice (for Parquet and CSV): a row a slice and, with ``level``
        ``study``, a row a study with the highest probability of each class and the spread
        there; and how they were made.
    """
    from rsna19_kedro.parallel import progress_bar
    from rsna19_kedro.prediction.members import find_members
    from rsna19_kedro.prediction.new_study import predict_prepared

    members = find_members(models, params.models, params.fold, params.fast)
    counts = slices.groupby("study_id", sort=False)["slice_num"].size()
    sizes = {str(name): int(count) for name, count in counts.items()}
    with progress_bar() as bar:
        task = bar.add_task("Predicting", total=len(members) * len(sizes))
        results = predict_prepared(
            volumes.read,
            sizes,
            params.crop_size_px,
            members,
            None if params.fast else models / "level2",
            prediction,
            one_variant=params.fast,
            on_study=lambda title: bar.update(task, advance=1, description=title),
        )
    empty_folder(heat)
    tables = []
    for number, result in enumerate(results):
        if result.heat is not None:
            np.save(heat / f"{number}.npy", result.heat)
        own = slices[slices["study_id"] == result.study_id]
        table = own.merge(result.slices, on="slice_num", validate="one_to_one")
        study = {"study_id": result.study_id, "level": "study", "slice_num": result.most_suspicious}
        study |= {f"pred_{name}": value for name, value in result.study.items()}
        row = table.loc[table["slice_num"] == result.most_suspicious].iloc[0]
        study |= {"sop_instance_uid": row["sop_instance_uid"]}
        highest = {name: table[f"pred_{name}"].idxmax() for name in CLASSES}
        study |= {f"spread_{name}": table.at[at, f"spread_{name}"] for name, at in highest.items()}
        rows = pd.concat([pd.DataFrame([study]), table.assign(level="slice")])
        tables.append(rows.assign(study_number=number + 1))
    table = pd.concat(tables, ignore_index=True)
    first = ["study_number", "study_id", "level", "slice_num", "sop_instance_uid", *PREDICTIONS]
    table = table[[*first, *(name for name in table.columns if name not in first)]]
    summary = {"method": results[0].method, "members": list(results[0].members)}
    return table, table, summary


def report_new(
    volumes: VolumeStore,
    predictions: pd.DataFrame,
    series: pd.DataFrame,
    findings: dict[str, Any],
    summary: dict[str, Any],
    heat: Path,
    params: NewStudyParameters,
) -> str:
    """Compose the page with the viewer."""
    from rsna19_kedro.evaluation.viewer import ViewedStudy, viewer_page

    of_study = predictions[predictions["level"] == "study"]
    names = of_study["study_id"].tolist()
    titles = {
        name: ", ".join(filter(None, [number, findings["patients"].get(name)]))
        for name, number in _numbers(names, findings).items()
    }
    viewed = []
    for number in np.argsort(-of_study["pred_any"].to_numpy(), kind="stable"):
        name = names[number]
        own = predictions[(predictions["study_id"] == name) & (predictions["level"] == "slice")]
        maps = heat / f"{number}.npy"
        viewed.append(
            ViewedStudy(
                titles[name],
                volumes.read(name),
                own,
                {label: float(of_study.iloc[number][f"pred_{label}"]) for label in CLASSES},
                np.load(maps) if maps.is_file() else None,
                _facts(name, own, series, findings, len(summary["members"])),
            )
        )
    shown = [
        {
            "study": titles.get(row["study_id"], "none"),
            "text": _series_text(row, params.include_phi),
            "reason": row["reason"],
        }
        for _, row in series.iterrows()
    ]
    failed = [(titles[name], reason) for name, reason in findings["failed"].items()]
    versions = package_versions("rsna19_kedro", "torch", "pydicom")
    facts = [
        ("Combined by", summary["method"]),
        ("Models", ", ".join(summary["members"])),
        ("Files read", str(findings["files"])),
        ("Made", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("Versions", ", ".join(f"{name} {number}" for name, number in versions.items())),
        ("Python", platform.python_version()),
    ]
    return viewer_page(viewed, shown, findings["problems"], failed, facts)


def write_dicom(
    volumes: VolumeStore,
    predictions: pd.DataFrame,
    findings: dict[str, Any],
    summary: dict[str, Any],
    heat: Path,
    folder: Path,
    params: NewStudyParameters,
) -> dict[str, Any]:
    """Write a structured report and a segmentation a study, if they were asked for.

    Returns:
        ``files`` by study, and ``failed``: why a study has none.
    """
    empty_folder(folder)
    made: dict[str, Any] = {"files": {}, "failed": {}}
    if not params.dicom_output:
        return made
    from rsna19_kedro.prediction.dicom_output import write_studies

    assert params.source is not None
    for name, result in write_studies(
        Path(params.source).expanduser(),
        volumes,
        predictions,
        heat,
        folder,
        method=summary["method"],
        max_unpacked_bytes=int(params.max_unpacked_gib * 2**30),
        include_phi=params.include_phi,
    ):
        if isinstance(result, str):
            made["failed"][name] = result
        else:
            made["files"][name] = [path.relative_to(folder).as_posix() for path in result]
    logger.info("DICOM results of %d studies are in %s", len(made["files"]), folder)
    return made


def refuse_incomplete(
    findings: dict[str, Any], dicom: dict[str, Any], predictions: pd.DataFrame, report: str
) -> None:
    """End the run with an error when a study lacks results; all others are written.

    Raises:
        InputError: Names how many and why.
    """
    del report
    failed = {**dicom["failed"], **findings["failed"]}
    if failed:
        numbers = _numbers(predictions["study_id"].unique(), findings)
        reasons = "; ".join(
            f"{numbers[name]} ({name}): {reason}" for name, reason in failed.items()
        )
        raise InputError(
            f"{len(failed)} of {len(findings['failed']) + findings['predicted']} studies could "
            f"not be {'predicted' if findings['failed'] else 'written as DICOM'} ({reasons}). "
            "The results of the others are whole."
        )


def _numbers(predicted: Iterable[str], findings: dict[str, Any]) -> dict[str, str]:
    """What studies are called in the log, the report and the tables: ``Study 1``, ``Study 2``.

    Args:
        predicted: Studies in the order of the tables; those that failed come after them.
        findings: Names those.
    """
    return {
        name: f"Study {number}" for number, name in enumerate([*predicted, *findings["failed"]], 1)
    }


def _facts(
    name: str, own: pd.DataFrame, series: pd.DataFrame, findings: dict[str, Any], members: int
) -> list[tuple[str, str]]:
    worst = own.loc[own["pred_any"].idxmax()]
    place = f"{int(worst['slice_num'])} (numbered 0 to {len(own) - 1}, feet to head)"
    facts = [("Most suspicious slice", place)]
    if members > 1:
        spread = f"{100 * worst['spread_any']:.1f} % there (standard deviation, any)"
        facts.append(("Models disagree by", spread))
    facts.append(("StudyInstanceUID", name))
    picked = series[(series["study_id"] == name) & series["picked"]]
    if len(picked):
        facts.append(("Series", str(picked.iloc[0]["reason"])))
    return facts + [("Remark", text) for text in findings["remarks"].get(name, [])]


def _series_text(row: pd.Series, include_phi: bool) -> str:
    """A series in words; descriptions are free text, so they may name a patient."""
    parts = [counted(row["slices"], "slice")]
    if np.isfinite(row["distance_mm"]):
        parts.append(f"{row['distance_mm']:.1f} mm apart")
    if row["kernel"]:
        parts.append(f"kernel {row['kernel']}")
    if include_phi and row["description"]:
        parts.insert(0, str(row["description"]))
    return ", ".join(parts)
