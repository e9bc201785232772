"""Nodes of the prediction of new studies. Torch is imported when a node runs."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.new_source import log_new_studies, prepare_new_studies, study_titles
from rsna19_kedro.errors import ParameterError, SourceError
from rsna19_kedro.files import empty_folder
from rsna19_kedro.pipelines.new_study.parameters import NewStudyParameters
from rsna19_kedro.prediction.settings import PredictionSettings

logger = logging.getLogger(__name__)


def prepare_source(
    volumes: Path, params: NewStudyParameters
) -> tuple[VolumeStore, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Find the series, pick one per study, prepare it.

    Args:
        volumes: Folder for the prepared volumes; emptied first.
        params: Names the source.

    Returns:
        The volumes; ``new_slices`` (``study_id``, ``slice_num``, ``sop_instance_uid``);
        ``new_series`` (see ``pick_series``); and the findings: files read, files left out by
        reason, studies that could not be predicted, and, if wanted, patients.

    Raises:
        ParameterError: No source is named.
        SourceError: Nothing in it can be predicted; says what was found.
    """
    if params.source is None:
        raise ParameterError("Name what to predict: --params source=PATH (a folder, file or zip).")
    empty_folder(volumes)
    store = VolumeStore(volumes)
    slices, series, findings = prepare_new_studies(
        Path(params.source).expanduser(),
        store,
        crop_size_px=params.crop_size_px,
        max_unpacked_bytes=int(params.max_unpacked_gib * 2**30),
        include_phi=params.include_phi,
    )
    log_new_studies(slices, series, findings)
    return store, slices, series, findings


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
        ``new_predictions`` twice (for Parquet and CSV), see ``results_table``; and how they
        were made.
    """
    from rsna19_kedro.parallel import progress_bar
    from rsna19_kedro.prediction.members import find_members
    from rsna19_kedro.prediction.new_study import predict_prepared, results_table

    members = find_members(models, params.models, params.fold, params.fast)
    names = slices["study_id"].unique().tolist()
    with progress_bar() as bar:
        task = bar.add_task("Predicting", total=len(members) * len(names))
        results = predict_prepared(
            volumes,
            names,
            members,
            None if params.fast else models / "level2",
            prediction,
            one_variant=params.fast,
            on_study=lambda title: bar.update(task, advance=1, description=title),
        )
    empty_folder(heat)
    for number, result in enumerate(results):
        if result.heat is not None:
            np.save(heat / f"{number}.npy", result.heat)
    table = results_table(results, slices)
    return table, table, {"method": results[0].method, "members": list(results[0].members)}


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
    del params  # Descriptions and patients are in the tables only if they were asked for.
    from rsna19_kedro.prediction.new_study_page import new_study_page

    return new_study_page(volumes, predictions, series, findings, summary, heat)


def write_dicom(
    volumes: VolumeStore,
    predictions: pd.DataFrame,
    findings: dict[str, Any],
    summary: dict[str, Any],
    heat: Path,
    folder: Path,
    params: NewStudyParameters,
) -> dict[str, Any]:
    """Write a structured report and a segmentation per study, if they were asked for.

    Returns:
        ``files`` by study, and ``failed``: why a study has none.
    """
    empty_folder(folder)
    if not params.dicom_output:
        return {"files": {}, "failed": {}}
    from rsna19_kedro.prediction.dicom_output import write_studies

    made = write_studies(
        Path(params.source or "").expanduser(),
        volumes,
        predictions,
        heat,
        folder,
        method=summary["method"],
        max_unpacked_bytes=int(params.max_unpacked_gib * 2**30),
        include_phi=params.include_phi,
    )
    logger.info("DICOM results of %d studies are in %s", len(made["files"]), folder)
    return made


def refuse_incomplete(
    findings: dict[str, Any], dicom: dict[str, Any], predictions: pd.DataFrame, report: str
) -> None:
    """End the run with an error when a study lacks results; all others are written.

    Raises:
        SourceError: Names how many and why.
    """
    del report
    failed = {**dicom["failed"], **findings["failed"]}
    if failed:
        titles = study_titles(predictions["study_id"].unique(), findings)
        reasons = "; ".join(f"{titles[name]} ({name}): {reason}" for name, reason in failed.items())
        raise SourceError(
            f"{len(failed)} of {len(findings['failed']) + findings['predicted']} studies could "
            f"not be {'predicted' if findings['failed'] else 'written as DICOM'} ({reasons}). "
            "The results of the others are whole."
        )
