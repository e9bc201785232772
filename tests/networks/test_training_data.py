"""The record of training data in a checkpoint, and the note shown with predictions."""

import json
from pathlib import Path

import pandas as pd
import pytest

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.networks.training_data import (
    NOT_RECORDED,
    REAL_SCORE,
    SYNTHETIC_ONLY,
    Band,
    describe_training_data,
    reported_auc,
    training_band,
)


def _rows() -> pd.DataFrame:
    """Three patients with five slices; two slices with a subdural haemorrhage."""
    table = pd.DataFrame(
        {
            "sop_instance_uid": list("edcba"),
            "study_id": ["s1", "s1", "s2", "s3", "s4"],
            "patient_id": ["ZZPATIENT1", "ZZPATIENT1", "ZZPATIENT1", "ZZPATIENT2", "ZZPATIENT3"],
            "slice_num": [0, 1, 0, 0, 0],
            "fold": [1, 1, 1, 2, 3],
            **dict.fromkeys(CLASSES, 0),
        }
    )
    table.loc[:1, ["subdural", "any"]] = 1
    return table


SYNTHETIC = describe_training_data(_rows(), synthetic=True)
REAL = describe_training_data(_rows(), synthetic=False)


def test_counts_match_the_rows_and_no_patient_is_named() -> None:
    assert {key: value for key, value in REAL.items() if key != "sha256"} == {
        "synthetic": False,
        "patients": 3,
        "studies": 4,
        "slices": 5,
        "positive_slices": {**dict.fromkeys(CLASSES, 0), "subdural": 2, "any": 2},
    }
    assert "ZZPATIENT" not in json.dumps(REAL)


def test_hash_depends_on_labels_folds_and_slices_alone() -> None:
    def sha256(rows: pd.DataFrame) -> str:
        return describe_training_data(rows, synthetic=False)["sha256"]

    rows, seen = _rows(), {REAL["sha256"]}
    assert sha256(rows.sample(frac=1, random_state=1).assign(patient_id="p")) in seen
    assert sha256(rows.astype(dict.fromkeys(CLASSES, "uint8"))) in seen
    for column, value in (("epidural", 1), ("fold", 4), ("sop_instance_uid", "f")):
        changed = rows.copy()
        changed.loc[0, column] = value
        assert sha256(changed) not in seen
        seen.add(sha256(changed))
    assert sha256(rows.head(4)) not in seen


def test_any_synthetic_model_makes_the_prediction_a_demonstration() -> None:
    assert training_band([SYNTHETIC, SYNTHETIC], 0.99) == Band("synthetic", SYNTHETIC_ONLY)
    score = {"auc": 0.8123, "low": 0.7, "high": 0.9, "slices": 1234, "patients": 10}
    scored = {**SYNTHETIC, REAL_SCORE: score}
    text = "; AUC of any on 1,234 real slices of 10 patients: 0.81 (95 % interval 0.70 to 0.90)"
    assert training_band([scored]).text == SYNTHETIC_ONLY + text
    assert training_band([scored, scored]).text == SYNTHETIC_ONLY
    for others in ([REAL, REAL], [REAL, None]):
        band = training_band([SYNTHETIC, *others])
        assert band.trained_on == "partly synthetic"
        assert band.synthetic
        assert band.warning == (
            f"{SYNTHETIC_ONLY} (1 of 3 models was trained on synthetic heads only)"
        )


def test_training_data_of_older_checkpoints_is_not_recorded() -> None:
    assert training_band([None]) == Band("not recorded", NOT_RECORDED)
    band = training_band([REAL, None])
    assert (band.trained_on, band.synthetic) == ("not recorded", False)
    assert band.warning == f"{NOT_RECORDED} (no record for 1 of 2 models)"


def test_models_trained_on_real_data_have_a_description_and_no_warning() -> None:
    more = {**REAL, "patients": 17079, "studies": 19000, "slices": 600000}
    band = training_band([REAL, more], 0.98765)
    assert (band.trained_on, band.synthetic, band.warning) == ("real", False, "")
    assert band.text == (
        "Each model was trained on real head CT of 3 to 17,079 patients (4 to 19,000 studies, "
        "5 to 600,000 slices); out-of-fold AUC of any: 0.988"
    )
    alone = training_band([{**REAL, "patients": 1}])
    assert alone.text == (
        "The model was trained on real head CT of 1 patient (4 studies, 5 slices)"
    )


@pytest.mark.parametrize(
    ("change", "models", "expected"),
    [
        ({}, {"a", "b"}, 0.9),
        ({}, {"a"}, None),  # The report is about more models than those that predict.
        ({"training_data": [{"sha256": "of other data"}]}, {"a", "b"}, None),
        ({"auc_any": {"value": None}}, {"a", "b"}, None),
    ],
)
def test_auc_is_taken_only_from_a_report_on_these_models(
    tmp_path: Path, change: dict, models: set[str], expected: float | None
) -> None:
    report = {"models": ["a", "b"], "auc_any": {"value": 0.9}, "training_data": [REAL]} | change
    path = tmp_path / "report_summary.json"
    assert reported_auc(path, models, [REAL]) is None
    path.write_text(json.dumps(report))
    assert reported_auc(path, models, [REAL, None]) == expected
    assert reported_auc(None, models, [REAL]) is None
