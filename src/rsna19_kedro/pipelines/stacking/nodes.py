"""Nodes of the second level."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import KEYS, PREDICTIONS
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.ensemble.candidate import Candidate
from rsna19_kedro.ensemble.collect import AnyTable, combine_oof, combine_test
from rsna19_kedro.ensemble.combination import MeanCandidate, SimplexCandidate, SimplexSettings
from rsna19_kedro.ensemble.judge import (
    describe_choice,
    describe_decisions,
    prediction_table,
    score_table,
)
from rsna19_kedro.ensemble.level1 import model_names
from rsna19_kedro.ensemble.splits import check_patients
from rsna19_kedro.ensemble.stack import (
    build_chosen,
    fit_on_table,
    in_order_of,
    judge_tables,
    predict_table,
)
from rsna19_kedro.ensemble.submission import check_submission, submission_table
from rsna19_kedro.evaluation.baselines import HISTOGRAM
from rsna19_kedro.evaluation.histogram_baseline import histogram_predictions
from rsna19_kedro.pipelines.stacking.parameters import StackingParameters
from rsna19_kedro.provenance.declare import all_but, result_of

_only = partial(all_but, "parameters", StackingParameters)


def collect_oof(folds: pd.DataFrame, *tables: AnyTable) -> pd.DataFrame:
    """Combine all out-of-fold tables into one wide table; see ``combine_oof``."""
    return combine_oof(folds, tables)


def collect_test(test_slices: pd.DataFrame, *tables: AnyTable) -> pd.DataFrame:
    """Combine all test tables into one wide table, averaged over folds; see ``combine_test``."""
    return combine_test(test_slices, tables)


@result_of(ignores=("parameters",), studies_of=("folds",))
def judge_histogram(
    volumes: VolumeStore,
    volume_index: pd.DataFrame,
    folds: pd.DataFrame,
    parameters: StackingParameters,
) -> pd.DataFrame:
    """Predict every slice with the histogram baseline, fitted on the other folds.

    Args:
        volumes: Prepared volumes.
        volume_index: Their manifest; an input only so that the volumes are written first.
        folds: Keys, ``patient_id``, ``fold``, labels.
        parameters: Gives the number of processes.

    Returns:
        Keys, ``patient_id``, ``fold`` and six ``pred_*`` float32.
    """
    check_patients(folds["patient_id"].to_numpy(), folds["fold"].to_numpy())
    return histogram_predictions(volumes, folds, parameters.workers)


@result_of(ignores=_only("candidates", "corrections", "seed"))
def judge_candidates(
    level1_oof: pd.DataFrame, parameters: StackingParameters, folder: Path
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Predict each fold with all candidates, and with the one chosen on the other folds.

    Args:
        level1_oof: Wide first-level table.
        parameters: Candidates, corrections and seed.
        folder: Folder of the second level's tables; ``fits/`` holds finished fits until
            ``level2_oof`` is saved.

    Returns:
        ``level2_decisions`` and ``level2_oof``.
    """
    judgement = judge_tables(
        level1_oof,
        parameters.candidates,
        parameters.corrections,
        parameters.seed,
        folder / "fits",
    )
    return describe_decisions(judgement), prediction_table(level1_oof, judgement.predictions)


@result_of(ignores=_only("candidates", "resamples", "seed"))
def score_candidates(
    level1_oof: pd.DataFrame,
    level2_oof: pd.DataFrame,
    level2_decisions: dict[str, Any],
    histogram_oof: pd.DataFrame,
    parameters: StackingParameters,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Score the candidates, joined by key, and describe the choice.

    Returns:
        ``level2_scores`` and ``level2_choice``.
    """
    tables = {str(name): table for name, table in level2_oof.groupby("candidate", sort=False)}
    tables[HISTOGRAM] = histogram_oof
    predictions = {name: in_order_of(level1_oof, table) for name, table in tables.items()}
    scores = score_table(
        level1_oof, predictions, resamples=parameters.resamples, seed=parameters.seed
    )
    settings = parameters.candidates[level2_decisions["final"]["candidate"]]
    choice = describe_choice(scores, level2_decisions, settings.kind)
    return scores, {**choice, "parameters": settings.model_dump(), "seed": parameters.seed}


@result_of(ignores=_only("candidates", "seed"))
def fit_final(
    level1_oof: pd.DataFrame, level2_choice: dict[str, Any], parameters: StackingParameters
) -> Candidate:
    """Fit the chosen candidate on all folds, with the chosen corrections and blend weights."""
    chosen = build_chosen(parameters.candidates, level2_choice, parameters.seed)
    fit_on_table(chosen, level1_oof)
    return chosen


@result_of(ignores=_only("candidates"))
def simplex_weights(
    level1_oof: pd.DataFrame, level2_model: Candidate, parameters: StackingParameters
) -> pd.DataFrame:
    """Return the weights of the simplex, whether or not it was chosen.

    It is fitted only if it is no part of the chosen candidate.

    Returns:
        ``level2_weights``, see ``SimplexCandidate.weights_table``.
    """
    listed = parameters.candidates.values()
    settings = next((s for s in listed if isinstance(s, SimplexSettings)), SimplexSettings())
    for part in level2_model.all_parts():
        if isinstance(part, SimplexCandidate) and part.settings == settings:
            return part.weights_table()
    simplex = SimplexCandidate(settings)
    fit_on_table(simplex, level1_oof)
    return simplex.weights_table()


def predict_test_stacked(level2_model: Candidate, level1_test: pd.DataFrame) -> pd.DataFrame:
    """Predict the test slices with the fitted second level.

    Returns:
        Keys and six ``pred_*`` float32.
    """
    values = predict_table(level2_model, level1_test).astype(np.float32)
    predictions = pd.DataFrame(values, columns=list(PREDICTIONS))
    return pd.concat([level1_test[list(KEYS)], predictions], axis=1)


@result_of(ignores=_only("clip_average"))
def average_submission(
    level1_test: pd.DataFrame, raw_download: Path, parameters: StackingParameters
) -> pd.DataFrame:
    """Convert the plain mean of models, folds and test-time augmentations to Kaggle's format."""
    values = predict_table(MeanCandidate(models=model_names(level1_test)), level1_test)
    submission = submission_table(level1_test, values, parameters.clip_average)
    check_submission(submission, raw_download)
    return submission


@result_of(ignores=_only("clip_stacked"))
def stacked_submission(
    level2_test: pd.DataFrame, raw_download: Path, parameters: StackingParameters
) -> pd.DataFrame:
    """Convert the predictions of the second level to Kaggle's format."""
    values = level2_test[list(PREDICTIONS)].to_numpy(np.float64)
    submission = submission_table(level2_test, values, parameters.clip_stacked)
    check_submission(submission, raw_download)
    return submission
