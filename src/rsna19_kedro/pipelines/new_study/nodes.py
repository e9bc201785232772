"""Nodes of the prediction of new studies. Torch is imported when a node runs."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.new_source import prepare_new_studies, volume_name
from rsna19_kedro.dicom.new_study_texts import log_new_studies
from rsna19_kedro.errors import SourceError, counted
from rsna19_kedro.files import empty_folder
from rsna19_kedro.networks.training_data import Band
from rsna19_kedro.pipelines.new_study.parameters import NewStudyParameters
from rsna19_kedro.prediction.settings import PredictionSettings
from rsna19_kedro.provenance.declare import result_of

logger = logging.getLogger(__name__)


@result_of(recorded=False)
def prepare_source(
    volumes: Path, native: Path, params: NewStudyParameters
) -> tuple[VolumeStore, VolumeStore, pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Find the studies of a source, pick one series per study, prepare it.

    Args:
        volumes: Folder for the prepared volumes; emptied first.
        native: Folder for the native slices, which only a detector needs; emptied first.
        params: Names the source.

    Returns:
        The volumes; the native slices; slices, series, files and findings as in ``NewStudies``.

    Raises:
        ParameterError: No source is named.
        SourceError: It holds no study that can be predicted; the message says what it holds.
    """
    source = params.source_path()
    for folder in (volumes, native):
        empty_folder(folder)
    store, native_store = VolumeStore(volumes), VolumeStore(native)
    new = prepare_new_studies(
        source,
        store,
        crop_size_px=params.crop_size_px,
        slab_mm=params.slab_mm if params.uses_models else 0.0,
        max_unpacked_bytes=int(params.max_unpacked_gib * 2**30),
        follow_links=params.follow_links,
        include_phi=params.include_phi,
        native=native_store if params.detector else None,
    )
    log_new_studies(new.series, new.findings)
    return store, native_store, new.slices, new.series, new.files, new.findings


@result_of(recorded=False)
def predict_new(
    volumes: VolumeStore,
    native: VolumeStore,
    slices: pd.DataFrame,
    findings: dict[str, Any],
    models: Path,
    heat: Path,
    reports: Path,
    params: NewStudyParameters,
    prediction: PredictionSettings,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any], dict[str, Any]]:
    """Predict the prepared studies with every requested model, or with the public detector.

    Args:
        volumes: Prepared volumes.
        native: Native slices, for the detector.
        slices: ``new_slices``.
        findings: ``new_findings``.
        models: Folder of the checkpoints.
        heat: Folder for the heatmaps; emptied first.
        reports: Folder whose ``report_summary.json``, if there is one, gives the models' AUC.
        params: Which models take part.
        prediction: Settings of the device.

    Returns:
        ``new_predictions`` three times (for Parquet, CSV and JSON), see ``results_table`` and
        ``results_json``; and a summary: ``method``, ``members``, ``precision``, their training data
        (see ``Band``), and ``detector`` with ``name``, ``version`` and ``about``, or null.
    """
    from rsna19_kedro.prediction.detected import Predictors
    from rsna19_kedro.prediction.members import LEVEL2
    from rsna19_kedro.prediction.new_study_tables import results_json, results_table
    from rsna19_kedro.progress import progress_bar

    numbers = [int(number) for number in slices["study_number"].unique()]
    empty_folder(heat)
    heat.mkdir(parents=True, exist_ok=True)
    results = []
    predictors = Predictors.find(models, **params.predictors())
    networks = len(predictors.members) + (predictors.release is not None)
    with progress_bar() as bar:
        task = bar.add_task("Predicting", total=networks * len(numbers))
        predicted = predictors.predict(
            volumes,
            native,
            [volume_name(number) for number in numbers],
            None if params.fast else models / LEVEL2,
            prediction,
            one_variant=params.fast,
            report_summary=reports / "report_summary.json",
            on_progress=lambda title, n: bar.update(task, advance=n, description=title),
        )
        for number, result in zip(numbers, predicted, strict=True):
            if result.heat is not None:
                np.save(heat / f"{result.study_id}.npy", result.heat)
            results.append(replace(result, heat=None))  # In memory, heat would need 2 MB per study.
            slice_text = f"most suspicious slice {result.most_suspicious}"
            logger.info("Study %d: any %.1f %%, %s", number, 100 * result.study["any"], slice_text)
    table = results_table(results, slices, findings)
    band = results[0].band
    members, precision = results[0].members, results[0].precision
    checkpoints = counted(len(members), "checkpoint")
    logger.info("Predicted by %s in %s: %s", checkpoints, precision, results[0].method)
    logger.log(logging.WARNING if band.warning else logging.INFO, "%s", band.text)
    summary = {
        "method": results[0].method,
        "members": list(members),
        "study_rule": results[0].study_rule,
        "precision": precision,
        "trained_on": band.trained_on,
        "synthetic": band.synthetic,
        "band": band.text,
        "detector": predictors.release and predictors.release.facts(),
    }
    return table, table, results_json(table, findings, summary), summary


@result_of(recorded=False)
def report_new(
    volumes: VolumeStore,
    predictions: pd.DataFrame,
    series: pd.DataFrame,
    findings: dict[str, Any],
    summary: dict[str, Any],
    heat: Path,
    pages: Path,
    params: NewStudyParameters,
) -> str:
    """Compose the page with the viewer; for many studies, an index and a page per study.

    Args:
        volumes: Prepared volumes.
        predictions: ``new_predictions``.
        series: ``new_series``.
        findings: ``new_findings``.
        summary: ``new_summary``.
        heat: Folder of the heatmaps.
        pages: Folder for the pages of many studies, beside the page; emptied first.
        params: Not used: descriptions and patients are in the tables only if requested.
    """
    del params
    from rsna19_kedro.prediction.new_study_page import new_study_page

    empty_folder(pages)
    return new_study_page(volumes, predictions, series, findings, summary, heat, pages)


@result_of(recorded=False)
def write_dicom(
    volumes: VolumeStore,
    predictions: pd.DataFrame,
    sources: pd.DataFrame,
    summary: dict[str, Any],
    heat: Path,
    folder: Path,
    params: NewStudyParameters,
) -> dict[str, Any]:
    """Write a structured report and a segmentation per study, if requested.

    Returns:
        ``files`` and, for studies without, the reasons (``failed``), by study number.
    """
    empty_folder(folder)
    if not params.dicom_output:
        return {"files": {}, "failed": {}}
    from rsna19_kedro.prediction.dicom_output import write_studies

    made = write_studies(
        params.source_path(),
        volumes,
        predictions,
        sources,
        heat,
        folder,
        method=summary["method"],
        precision=summary["precision"],
        warning=Band(summary["trained_on"], summary["band"]).warning,
        detector=summary["detector"],
        max_unpacked_bytes=int(params.max_unpacked_gib * 2**30),
        include_phi=params.include_phi,
    )
    logger.info(
        "Wrote DICOM results of %s to %s", counted(len(made["files"]), "study", "studies"), folder
    )
    return made


@result_of(recorded=False)
def refuse_incomplete(
    findings: dict[str, Any], dicom: dict[str, Any], predictions: pd.DataFrame, report: str
) -> None:
    """End the run with an error if a study lacks results; those of the others are written.

    Raises:
        SourceError: Names the studies and reasons.
    """
    del predictions, report
    studies = findings["studies"]
    failed = [
        f"Study {study['number']} ({study['study_id']}): {reason}"
        for study in studies
        if (reason := study["failed"] or dicom["failed"].get(str(study["number"])))
    ]
    refused = [f"{name}: {reason}" for name, reason in findings["refused"].items()]
    counts = [f"{len(failed)} of {counted(len(studies), 'study', 'studies')}"] if failed else []
    counts += [counted(len(refused), "zip file")] if refused else []
    if counts:
        raise SourceError(
            f"{' and '.join(counts)} could not be predicted or written as DICOM "
            f"({'; '.join(failed + refused)}). The results of the others are complete."
        )
