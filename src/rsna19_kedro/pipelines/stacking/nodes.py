"""Nodes of the second level."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import CLASSES, KEYS, PREDICTIONS
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.ensemble.candidate import Candidate, Floats, Labels
from rsna19_kedro.ensemble.combination import SimplexSettings
from rsna19_kedro.ensemble.correction import CorrectedCandidate, read_corrections
from rsna19_kedro.ensemble.judge import (
    describe_choice,
    describe_decisions,
    prediction_table,
    score_table,
)
from rsna19_kedro.ensemble.leaks import suspicious_folds
from rsna19_kedro.ensemble.level1 import SEPARATOR, FirstLevel, combine_oof, combine_test
from rsna19_kedro.ensemble.nested import judge
from rsna19_kedro.ensemble.splits import check_patients
from rsna19_kedro.ensemble.submission import check_submission, submission_table
from rsna19_kedro.errors import InputError
from rsna19_kedro.evaluation.histogram_baseline import (
    nested_histogram_predictions,
    slice_histograms,
)
from rsna19_kedro.pipelines.stacking.parameters import HISTOGRAM, StackingParameters


def collect_oof(folds: pd.DataFrame, *tables: pd.DataFrame) -> pd.DataFrame:
    """Put all out-of-fold tables side by side; see ``combine_oof``."""
    return combine_oof(folds, tables)


def collect_test(test_slices: pd.DataFrame, *tables: pd.DataFrame) -> pd.DataFrame:
    """Put all test tables side by side, averaged over folds; see ``combine_test``."""
    return combine_test(test_slices, tables)


def judge_histogram(
    volumes: VolumeStore,
    volume_index: pd.DataFrame,
    folds: pd.DataFrame,
    parameters: StackingParameters,
) -> pd.DataFrame:
    """Predict every slice by the histogram baseline, fitted on the other folds.

    Args:
        volumes: Prepared volumes.
        volume_index: Their manifest; here it only says that all of them are written.
        folds: Keys, ``patient_id``, ``fold``, labels.
        parameters: Gives the number of processes.

    Returns:
        Keys, ``patient_id``, ``fold`` and six ``pred_*`` float32.
    """
    slices = folds.sort_values(["study_id", "slice_num"], ignore_index=True)
    fold = slices["fold"].to_numpy()
    check_patients(slices["patient_id"].to_numpy(), fold)
    features = slice_histograms(volumes, slices, parameters.workers)
    values = nested_histogram_predictions(features, slices[list(CLASSES)].to_numpy(), fold)
    predictions = pd.DataFrame(values.astype(np.float32), columns=list(PREDICTIONS))
    return pd.concat([slices[[*KEYS, "patient_id", "fold"]], predictions], axis=1)


def judge_candidates(
    level1_oof: pd.DataFrame, parameters: StackingParameters
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Predict each fold by candidates, and by a choice among them, made without it.

    Returns:
        ``level2_oof`` and ``level2_decisions``.
    """
    features, labels = FirstLevel.from_table(level1_oof), _labels(level1_oof)
    folds = level1_oof["fold"].to_numpy()
    suspicious_folds(features, labels, folds)
    judgement = judge(
        features,
        labels,
        level1_oof["patient_id"].to_numpy(),
        folds,
        parameters.builders(),
        blends=parameters.blends(),
        corrections=parameters.corrections,
    )
    return prediction_table(level1_oof, judgement.predictions), describe_decisions(judgement)


def score_candidates(
    level1_oof: pd.DataFrame,
    level2_oof: pd.DataFrame,
    level2_decisions: dict[str, Any],
    histogram_oof: pd.DataFrame,
    parameters: StackingParameters,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Compare the candidates, by keys, and say which is taken.

    Returns:
        ``level2_scores`` and ``level2_choice``.
    """
    tables = {str(name): table for name, table in level2_oof.groupby("candidate", sort=False)}
    tables[HISTOGRAM] = histogram_oof
    predictions = {name: _by_keys(table, level1_oof) for name, table in tables.items()}
    scores = score_table(
        level1_oof, predictions, resamples=parameters.resamples, seed=parameters.seed
    )
    settings = parameters.candidates[level2_decisions["final"]["candidate"]]
    choice = describe_choice(scores, level2_decisions, settings.kind)
    return scores, {**choice, "parameters": settings.model_dump(), "seed": parameters.seed}


def fit_final(
    level1_oof: pd.DataFrame, level2_choice: dict[str, Any], parameters: StackingParameters
) -> Candidate:
    """Fit the chosen candidate on all folds; its corrections and blend weights are known."""
    weights = level2_choice["blend_weights"]
    chosen = parameters.build(
        level2_choice["candidate"], None if weights is None else np.array(weights)
    )
    if level2_choice["corrections"]:
        chosen = CorrectedCandidate(chosen, read_corrections(level2_choice["corrections"]))
    patients = level1_oof["patient_id"].to_numpy()
    chosen.fit(FirstLevel.from_table(level1_oof), _labels(level1_oof), patients)
    return chosen


def simplex_weights(level1_oof: pd.DataFrame, parameters: StackingParameters) -> pd.DataFrame:
    """Show what the simplex takes from which model, class and neighbour, chosen or not.

    Returns:
        ``level2_weights``: one row a feature, named by the index ``<model>|<class>|<offset>``,
        with ``model``, ``source`` (the class that the model predicted), ``offset`` in slices,
        and a weight for each class; columns sum to 1.
    """
    listed = parameters.candidates.values()
    settings = next((s for s in listed if isinstance(s, SimplexSettings)), SimplexSettings())
    simplex = settings.build(parameters.seed)
    patients = level1_oof["patient_id"].to_numpy()
    simplex.fit(FirstLevel.from_table(level1_oof), _labels(level1_oof), patients)
    names = pd.Index(simplex.feature_names(), name="feature")
    parts = [name.split(SEPARATOR) for name in names]
    table = pd.DataFrame(parts, columns=["model", "source", "offset"], index=names)
    weights = pd.DataFrame(simplex.weights, columns=list(CLASSES), index=names)
    return pd.concat([table.astype({"offset": int}), weights], axis=1)


def predict_test(level2_model: Candidate, level1_test: pd.DataFrame) -> pd.DataFrame:
    """Predict the test slices by the fitted second level.

    Returns:
        Keys and six ``pred_*`` float32.
    """
    values = np.empty((0, len(CLASSES)))
    if not level1_test.empty:
        values = level2_model.predict(FirstLevel.from_table(level1_test))
    predictions = pd.DataFrame(values.astype(np.float32), columns=list(PREDICTIONS))
    return pd.concat([level1_test[list(KEYS)], predictions], axis=1)


def average_submission(
    level1_test: pd.DataFrame, raw_download: Path, parameters: StackingParameters
) -> pd.DataFrame:
    """Plain mean of models, folds and variants in Kaggle's format."""
    values = np.empty((0, len(CLASSES)))
    if not level1_test.empty:
        values = FirstLevel.from_table(level1_test).predictions.mean(axis=1, dtype=np.float64)
    submission = submission_table(level1_test, values, parameters.clip_average)
    check_submission(submission, raw_download)
    return submission


def stacked_submission(
    level2_test: pd.DataFrame, raw_download: Path, parameters: StackingParameters
) -> pd.DataFrame:
    """Predictions of the second level in Kaggle's format."""
    values = level2_test[list(PREDICTIONS)].to_numpy(np.float64)
    submission = submission_table(level2_test, values, parameters.clip_stacked)
    check_submission(submission, raw_download)
    return submission


def _labels(level1_oof: pd.DataFrame) -> Labels:
    return level1_oof[list(CLASSES)].to_numpy(np.uint8)


def _by_keys(table: pd.DataFrame, level1_oof: pd.DataFrame) -> Floats:
    """Predictions ``(N, 6)`` in the order of the first-level table."""
    place = pd.Index(table["sop_instance_uid"]).get_indexer(
        pd.Index(level1_oof["sop_instance_uid"])
    )
    if len(table) != len(level1_oof) or (place < 0).any():
        missing = level1_oof["sop_instance_uid"][place < 0].head(3).tolist()
        raise InputError(
            f"A second-level table holds {len(table)} slices where {len(level1_oof)} belong, "
            f"missing among others {missing}. Run the pipeline stacking from collect_oof on."
        )
    return table[list(PREDICTIONS)].to_numpy(np.float64)[place]
