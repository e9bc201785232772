"""The second level on tables: select a candidate, fit it, predict."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import CLASSES, PREDICTIONS
from rsna19_kedro.ensemble.blend import BlendCandidate, blend_members
from rsna19_kedro.ensemble.candidate import Candidate, Floats, Labels
from rsna19_kedro.ensemble.correction import (
    CorrectedCandidate,
    CorrectedSettings,
    CorrectionKind,
)
from rsna19_kedro.ensemble.leaks import suspicious_folds
from rsna19_kedro.ensemble.level1 import AUGMENTATIONS, MEMBERS, FirstLevel, model_names
from rsna19_kedro.ensemble.nested import Judgement, judge
from rsna19_kedro.ensemble.registry import build
from rsna19_kedro.ensemble.settings import CandidateSettings
from rsna19_kedro.errors import InputError, counted

Candidates = Mapping[str, CandidateSettings]


def judge_tables(
    level1_oof: pd.DataFrame,
    candidates: Candidates,
    corrections: Sequence[CorrectionKind],
    seed: int,
    folder: Path | None = None,
) -> Judgement:
    """Check for leaks, then run nested cross-validation of the candidates.

    Args:
        level1_oof: Wide first-level table with ``patient_id``, ``fold`` and labels.
        candidates: Settings by name.
        corrections: Corrections to try on the chosen candidate's predictions.
        seed: Random seed of the candidates.
        folder: Folder for finished fits; see ``fits.fitted``.
    """
    features, labels = FirstLevel.from_table(level1_oof), labels_of(level1_oof)
    folds = level1_oof["fold"].to_numpy()
    suspicious_folds(features, labels, folds)
    blends = blend_members(candidates)
    builders = {
        name: partial(build, settings, seed)
        for name, settings in candidates.items()
        if name not in blends
    }
    patients = level1_oof["patient_id"].to_numpy()
    return judge(
        *(features, labels, patients, folds, builders),
        blends=blends,
        corrections=corrections,
        folder=folder,
    )


def build_chosen(candidates: Candidates, choice: Mapping[str, Any], seed: int) -> Candidate:
    """Make the candidate chosen on all folds, unfitted, with blend weights and corrections.

    Args:
        candidates: Settings by name.
        choice: ``candidate``, ``blend_weights`` and ``corrections`` of ``level2_choice``.
        seed: Random seed of the candidate.
    """
    name = choice["candidate"]
    chosen = build(candidates[name], seed)
    if isinstance(chosen, BlendCandidate):
        members = blend_members(candidates)[name]
        chosen.parts = {member: build(candidates[member], seed) for member in members}
        chosen.weights = np.array(choice["blend_weights"])
    if not choice["corrections"]:
        return chosen
    settings = CorrectedSettings(corrections=choice["corrections"])
    return CorrectedCandidate(settings, seed, parts={"base": chosen})


def fit_on_table(candidate: Candidate, level1_oof: pd.DataFrame) -> None:
    """Fit a candidate on all slices of a wide first-level table with labels."""
    patients = level1_oof["patient_id"].to_numpy()
    candidate.models = model_names(level1_oof)
    candidate.trained_on = level1_oof.attrs.get(MEMBERS, {})
    candidate.augmentations = level1_oof.attrs.get(AUGMENTATIONS, {})
    candidate.fit(FirstLevel.from_table(level1_oof), labels_of(level1_oof), patients)


def predict_table(candidate: Candidate, level1: pd.DataFrame) -> Floats:
    """Predict probabilities ``(N, 6)`` for a wide first-level table, which may be empty.

    Raises:
        ModelError: The candidate was fitted on predictions of other networks.
    """
    candidate.check_members(level1.attrs.get(MEMBERS, {}))
    if level1.empty:
        return np.empty((0, len(CLASSES)))
    return candidate.predict(FirstLevel.from_table(level1))


def labels_of(level1_oof: pd.DataFrame) -> Labels:
    """Labels ``(N, 6)`` of a wide first-level table."""
    return level1_oof[list(CLASSES)].to_numpy(np.uint8)


def in_order_of(level1_oof: pd.DataFrame, table: pd.DataFrame) -> Floats:
    """Return the predictions ``(N, 6)`` of a table in the order of the first-level table.

    Raises:
        InputError: The tables hold different slices.
    """
    wanted = pd.Index(level1_oof["sop_instance_uid"])
    index = pd.Index(table["sop_instance_uid"]).get_indexer(wanted)
    if len(table) != len(wanted) or (index < 0).any():
        raise InputError(
            f"A second-level table holds {counted(len(table), 'slice')}, expected {len(wanted)}; "
            f"first missing: {wanted[index < 0][:3].tolist()}. Run the pipeline stacking again, "
            "starting at collect_oof."
        )
    return table[list(PREDICTIONS)].to_numpy(np.float64)[index]
