"""Nodes of the report: tables, figures, pictures, and the page that shows them."""

import logging
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import CLASSES, KEYS, PREDICTIONS
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.ensemble.level1 import model_names, prediction_columns
from rsna19_kedro.evaluation import data_counts, page
from rsna19_kedro.evaluation import worst_slices as errors
from rsna19_kedro.evaluation.curves import STACKED, draw_calibration, draw_roc
from rsna19_kedro.evaluation.data_figures import draw_folds, draw_scanner
from rsna19_kedro.evaluation.decision import draw_decision
from rsna19_kedro.evaluation.model_card import model_card
from rsna19_kedro.evaluation.scores import fold_losses, metrics_table
from rsna19_kedro.evaluation.second_level_figures import draw_candidates, draw_weights
from rsna19_kedro.evaluation.study_level import study_metrics, study_table
from rsna19_kedro.evaluation.style import figure_png
from rsna19_kedro.evaluation.summary import candidate_tables, main_numbers, networks_only
from rsna19_kedro.evaluation.training_figures import draw_learning_curves
from rsna19_kedro.networks.training_data import TRAINING_DATA, describe_training_data, training_band
from rsna19_kedro.pipelines.reporting.parameters import ReportingParameters
from rsna19_kedro.provenance.declare import all_but, result_of
from rsna19_kedro.provenance.history import by_model

logger = logging.getLogger(__name__)

FIGURES = (
    *("fold_figure", "scanner_figure", "learning_curves_figure", "roc_figure"),
    *("calibration_figure", "second_level_figure", "simplex_weights_figure", "decision_figure"),
)
"""Figures that :func:`compose_report` takes as its last arguments, in this order."""
_only = partial(all_but, "parameters", ReportingParameters)


@result_of(version=2)
def count_data(
    slice_index: pd.DataFrame, volume_index: pd.DataFrame, folds: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Count slices, studies and patients per fold and header tags; correlate the classes."""
    tags = data_counts.tag_statistics(slice_index, volume_index)
    return data_counts.fold_statistics(folds), tags, data_counts.class_correlations(folds)


@result_of(version=2)
def plot_folds(fold_statistics: pd.DataFrame) -> bytes:
    """Draw the share of positive slices per fold and class (PNG)."""
    return figure_png(draw_folds(fold_statistics))


@result_of(version=2)
def plot_scanner(slice_index: pd.DataFrame, volume_index: pd.DataFrame) -> bytes:
    """Draw tilt, slice distance, pixel spacing and length of the studies (PNG)."""
    return figure_png(draw_scanner(slice_index, volume_index))


def collect_histories(*histories: pd.DataFrame) -> pd.DataFrame:
    """Concatenate the histories of all models and folds."""
    return pd.concat(histories, ignore_index=True)


@result_of(version=2)
def plot_learning_curves(training_histories: pd.DataFrame) -> bytes:
    """Draw the learning curves of all models and folds (PNG)."""
    return figure_png(draw_learning_curves(training_histories))


def take_chosen(
    level1_oof: pd.DataFrame, level2_oof: pd.DataFrame, level2_choice: dict[str, Any]
) -> pd.DataFrame:
    """Join the predictions of the chosen candidate with the labels.

    Returns:
        Keys, ``patient_id``, ``fold``, six labels, six ``pred_*``; rows as in ``level1_oof``.
    """
    chosen = level2_oof[level2_oof["candidate"] == level2_choice["chosen"]]
    known = level1_oof[[*KEYS, "patient_id", "fold", *CLASSES]]
    predicted = chosen[["sop_instance_uid", *PREDICTIONS]]
    return known.merge(predicted, on="sop_instance_uid", how="left", validate="1:1")


def _all_predictions(
    level1_oof: pd.DataFrame, stacked_oof: pd.DataFrame
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Labels ``(n, 6)``, and probabilities of each model, the second level last."""
    models = model_names(level1_oof)
    named = {model: level1_oof[prediction_columns([model])].to_numpy("float32") for model in models}
    named[STACKED] = stacked_oof[list(PREDICTIONS)].to_numpy("float32")
    return stacked_oof[list(CLASSES)].to_numpy(), named


def score_models(level1_oof: pd.DataFrame, stacked_oof: pd.DataFrame) -> pd.DataFrame:
    """Compute the metrics of each model and class, the second level last."""
    return metrics_table(*_all_predictions(level1_oof, stacked_oof))


def plot_roc(level1_oof: pd.DataFrame, stacked_oof: pd.DataFrame) -> bytes:
    """Draw the ROC curves of all models (PNG)."""
    return figure_png(draw_roc(*_all_predictions(level1_oof, stacked_oof)))


@result_of(ignores=_only("calibration_bins"))
def plot_calibration(
    level1_oof: pd.DataFrame, stacked_oof: pd.DataFrame, parameters: ReportingParameters
) -> bytes:
    """Draw the calibration of all models (PNG)."""
    predictions = _all_predictions(level1_oof, stacked_oof)
    return figure_png(draw_calibration(*predictions, parameters.calibration_bins))


def plot_second_level(level2_scores: pd.DataFrame, level2_choice: dict[str, Any]) -> bytes:
    """Draw the candidates of the second level with their intervals (PNG)."""
    return figure_png(draw_candidates(networks_only(level2_scores), level2_choice["chosen"]))


def plot_simplex_weights(level2_weights: pd.DataFrame) -> bytes:
    """Draw the simplex weights as heatmaps (PNG)."""
    return figure_png(draw_weights(level2_weights))


@result_of(version=2, ignores=_only("bootstrap_resamples", "seed"))
def summarise(
    stacked_oof: pd.DataFrame,
    level2_scores: pd.DataFrame,
    level2_choice: dict[str, Any],
    level1_oof: pd.DataFrame,
    test_slices: pd.DataFrame,
    submission_average: pd.DataFrame,
    fold_notes: list[str],
    download_facts: dict[str, Any],
    parameters: ReportingParameters,
) -> dict[str, Any]:
    """Collect the main numbers, for the page and as JSON.

    ``training_data`` describes, for each fold, the slices that its models were trained on.
    """
    summary = main_numbers(
        stacked_oof,
        level2_scores,
        chosen=level2_choice["chosen"],
        resamples=parameters.bootstrap_resamples,
        seed=parameters.seed,
    )
    synthetic = download_facts["synthetic"]
    trained_on = [
        describe_training_data(stacked_oof[stacked_oof["fold"] != fold], synthetic=synthetic)
        for fold in sorted(stacked_oof["fold"].unique())
    ]
    band = training_band(trained_on, summary["auc_any"]["value"])
    return {
        "models": list(model_names(level1_oof)),
        **summary,
        "reason": str(level2_choice["reason"]),
        "test_slices": len(test_slices),
        "submission_rows": len(submission_average),
        "fold_notes": fold_notes,
        TRAINING_DATA: trained_on,
        "trained_on": band.trained_on,
        "synthetic": band.synthetic,
        "band": band.text,
    }


@result_of(ignores=_only("bootstrap_resamples", "seed"))
def score_folds(
    level1_oof: pd.DataFrame, stacked_oof: pd.DataFrame, parameters: ReportingParameters
) -> pd.DataFrame:
    """Compute each model's loss per fold and over all folds, with intervals."""
    return fold_losses(
        *_all_predictions(level1_oof, stacked_oof),
        stacked_oof["fold"].to_numpy(),
        stacked_oof["patient_id"],
        resamples=parameters.bootstrap_resamples,
        seed=parameters.seed,
    )


@result_of(ignores=_only("bootstrap_resamples", "seed"))
def score_studies(stacked_oof: pd.DataFrame, parameters: ReportingParameters) -> pd.DataFrame:
    """Compute the study-level metrics."""
    return study_metrics(
        stacked_oof, resamples=parameters.bootstrap_resamples, seed=parameters.seed
    )


def plot_decision(stacked_oof: pd.DataFrame) -> bytes:
    """Draw the decision curves of whole studies (PNG)."""
    return figure_png(draw_decision(study_table(stacked_oof)))


@result_of(ignores=_only("studies_by_class"))
def rank_studies(stacked_oof: pd.DataFrame, parameters: ReportingParameters) -> pd.DataFrame:
    """List the studies of each class with the highest and the lowest loss."""
    return errors.studies_by_class(stacked_oof, parameters.studies_by_class)


@result_of(version=2)
def write_model_card(
    report_summary: dict[str, Any],
    study_scores: pd.DataFrame,
    fold_scores: pd.DataFrame,
    fold_statistics: pd.DataFrame,
    origins: pd.DataFrame,
) -> str:
    """Fill the model card from the run's tables."""
    return model_card(
        report_summary,
        study_scores,
        fold_scores,
        fold_statistics,
        by_model(origins),
        versions=page.software_versions(),
    )


@result_of(ignores=_only("worst_slices"))
def find_worst(stacked_oof: pd.DataFrame, parameters: ReportingParameters) -> pd.DataFrame:
    """Pick the slices with the highest loss, the worst misses and the worst false alarms."""
    return errors.find_worst_slices(stacked_oof, parameters.worst_slices)


@result_of(ignores=_only("windows"))
def picture_worst(
    worst_slices: pd.DataFrame, volumes: VolumeStore, parameters: ReportingParameters
) -> pd.DataFrame:
    """Draw the worst slices in the windows of the parameters."""
    return errors.picture_slices(worst_slices, volumes, parameters.windows)


@result_of(version=2, ignores=_only("submissions", "windows", "worst_studies"))
def compose_report(
    report_summary: dict[str, Any],
    fold_statistics: pd.DataFrame,
    tag_statistics: pd.DataFrame,
    class_correlations: pd.DataFrame,
    training_histories: pd.DataFrame,
    first_level_metrics: pd.DataFrame,
    level2_scores: pd.DataFrame,
    stacked_oof: pd.DataFrame,
    worst_slices: pd.DataFrame,
    worst_slice_pictures: pd.DataFrame,
    fold_scores: pd.DataFrame,
    study_scores: pd.DataFrame,
    ranked_studies: pd.DataFrame,
    origins: pd.DataFrame,
    parameters: ReportingParameters,
    *figures: bytes,
) -> str:
    """Compose one HTML page that needs no other file and no network.

    Args:
        report_summary: Main numbers.
        fold_statistics: Counts per fold.
        tag_statistics: Counts of header tags.
        class_correlations: Correlations of the classes over slices.
        training_histories: Validations of all models and folds.
        first_level_metrics: Metrics per model and class.
        level2_scores: Candidates and references with their scores.
        stacked_oof: Predictions of the chosen candidate with labels.
        worst_slices: Slices to show.
        worst_slice_pictures: Their pictures.
        fold_scores: Losses per model and fold.
        study_scores: Metrics of whole studies.
        ranked_studies: Studies of each class with the highest and the lowest loss.
        origins: When each result was made, and from which inputs.
        parameters: What to show.
        figures: PNG bytes in the order of :data:`FIGURES`.

    Returns:
        The page.
    """
    content = dict(
        summary=report_summary,
        submissions=parameters.submissions,
        windows=parameters.windows,
        fold_statistics=page.records(fold_statistics),
        tag_statistics=page.tag_tables(tag_statistics),
        class_correlations=page.records(class_correlations),
        training=page.training_table(training_histories),
        metrics=page.metric_tables(first_level_metrics),
        scores=candidate_tables(
            level2_scores, report_summary["chosen"], report_summary["prevalence_loss"]
        ),
        worst_groups=page.worst_groups(worst_slices, worst_slice_pictures),
        worst_studies=page.records(errors.worst_studies(stacked_oof, parameters.worst_studies)),
        error_bands=page.records(errors.error_bands(stacked_oof)),
        fold_losses=page.fold_table(fold_scores),
        studies=page.records(study_scores),
        ranked_studies=page.ranked_studies(ranked_studies, worst_slices),
        origins=by_model(origins),
        figures=dict(zip(FIGURES, figures, strict=True)),
        versions=page.software_versions(),
    )
    text = page.render_page(content)
    logger.info("Report size: %.1f MB", len(text) / 1e6)
    return text
