"""Training data of models: the record in a checkpoint, and the note shown with predictions.

Imports no torch, because the reports use it, too.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.networks.made_from import digest_labels

TRAINING_DATA: Final = "training_data"
"""Key of :func:`describe_training_data` in the metadata of a checkpoint."""

REAL_SCORE: Final = "real_score"
"""Key, in this description, of the AUC of ``any`` of the packaged model on slices of real CT:
``auc``, the ends ``low`` and ``high`` of its 95 % interval by patient, and the numbers of
``slices`` and ``patients``."""

SYNTHETIC_ONLY: Final = "Trained on synthetic heads only: a demonstration"
NOT_RECORDED: Final = "The training data of these models is not recorded"

TrainedOn = Literal["synthetic", "partly synthetic", "not recorded", "real", "random weights"]


@dataclass(frozen=True)
class Band:
    """Note on the training data, shown with predictions.

    Attributes:
        trained_on: ``synthetic`` (all models), ``partly synthetic`` (some models),
            ``not recorded`` (no model is known to be synthetic, some are of an older version),
            ``random weights`` (a detector that only has the form of the published one) or
            ``real``.
        text: A sentence without full stop.
    """

    trained_on: TrainedOn
    text: str

    @property
    def synthetic(self) -> bool:
        """Whether any model was trained on synthetic heads."""
        return "synthetic" in self.trained_on

    @property
    def warning(self) -> str:
        """The text if every result must begin with it; empty for models trained on real data."""
        return "" if self.trained_on == "real" else self.text


def describe_training_data(rows: pd.DataFrame, *, synthetic: bool) -> dict[str, Any]:
    """Describe a model's training slices for the metadata of its checkpoint.

    Args:
        rows: Training slices, in any order: ``sop_instance_uid``, ``study_id``, ``patient_id``,
            ``fold`` and six labels.
        synthetic: Whether the heads are phantoms.

    Returns:
        ``synthetic``; numbers of ``patients``, ``studies`` and ``slices``; ``positive_slices``
        per class; and ``sha256``, a hash of the UIDs, folds and labels. It holds no
        patient identifier, path or date.
    """
    return {
        "synthetic": synthetic,
        "patients": int(rows["patient_id"].nunique()),
        "studies": int(rows["study_id"].nunique()),
        "slices": len(rows),
        "positive_slices": {name: int(rows[name].sum()) for name in CLASSES},
        "sha256": digest_labels(rows),
    }


def training_band(recorded: Sequence[Mapping[str, Any] | None], auc: float | None = None) -> Band:
    """Describe the training data of the models of a prediction.

    Args:
        recorded: ``describe_training_data`` of every model (one per checkpoint); ``None`` for a
            checkpoint of an older version, which has none.
        auc: Out-of-fold AUC of ``any``; stated only for models trained on real data.
    """
    known = [data for data in recorded if data is not None]
    synthetic, models = sum(data["synthetic"] for data in known), len(recorded)
    if synthetic:
        if synthetic == models:
            scored = _score_in_words(known[0][REAL_SCORE]) if REAL_SCORE in known[0] else ""
            return Band("synthetic", SYNTHETIC_ONLY + (scored if models == 1 else ""))
        verb = "was" if synthetic == 1 else "were"
        share = f"{synthetic} of {models} models {verb} trained on synthetic heads only"
        return Band("partly synthetic", f"{SYNTHETIC_ONLY} ({share})")
    if len(known) < models or not known:
        share = f" (no record for {models - len(known)} of {models} models)" if known else ""
        return Band("not recorded", f"{NOT_RECORDED}{share}")
    return Band("real", _sentence(known, auc))


def reported_auc(
    summary: Path | None, models: set[str], recorded: Sequence[Mapping[str, Any] | None]
) -> float | None:
    """Return the out-of-fold AUC of ``any`` from the report on these models, if there is one.

    Checkpoints may have been copied next to the report on other models. The report is therefore
    used only if it is about the same models and at least one of them was trained on the same
    slices, folds and labels.

    Args:
        summary: File ``report_summary.json`` of the pipeline ``reporting``; it may be missing.
        models: Names of the predicting models.
        recorded: See ``training_band``.
    """
    if summary is None or not summary.is_file():
        return None
    report = json.loads(summary.read_text(encoding="utf-8"))
    reported = {data["sha256"] for data in report.get(TRAINING_DATA, ())}
    if set(report["models"]) != models or not reported & {d["sha256"] for d in recorded if d}:
        return None
    value = report["auc_any"]["value"]
    return None if value is None else float(value)


def _sentence(recorded: Sequence[Mapping[str, Any]], auc: float | None) -> str:
    patients, studies, slices = (
        _counted([data[plural] for data in recorded], singular, plural)
        for plural, singular in (("patients", "patient"), ("studies", "study"), ("slices", "slice"))
    )
    which = "The model" if len(recorded) == 1 else "Each model"
    text = f"{which} was trained on real head CT of {patients} ({studies}, {slices})"
    return text if auc is None else f"{text}; out-of-fold AUC of any: {auc:.3f}"


def _score_in_words(score: Mapping[str, float]) -> str:
    return (
        f"; AUC of any on {score['slices']:,} real slices of {score['patients']} patients: "
        f"{score['auc']:.2f} (95 % interval {score['low']:.2f} to {score['high']:.2f})"
    )


def _counted(values: Sequence[int], singular: str, plural: str) -> str:
    """Write counts with their unit: ``1 patient``, ``40 to 45 patients``."""
    low, high = min(values), max(values)
    shown = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return f"{shown} {singular if high == 1 else plural}"
