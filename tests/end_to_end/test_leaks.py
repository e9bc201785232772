"""Folds changed after training raise an error instead of leaking patients."""

from pathlib import Path

import pytest

from rsna19_kedro.errors import ModelError

from .conftest import run_session

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

SEED = {"folds": {"seed": 7}}


def test_old_checkpoints_do_not_predict_their_training_patients(
    project_copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    oof = project_copy / "data" / "07_model_output" / "resnet18_400" / "fold_0" / "oof.parquet"
    before = oof.read_bytes()
    run_session(project_copy, pipeline_names=["folds"], runtime_params=SEED)
    narrow = {**SEED, "fold": 0, "models": "resnet18_400"}
    with pytest.raises(ModelError, match=r"resnet18_400, fold 0: .* of the \d+ patients of fold 0"):
        run_session(project_copy, pipeline_names=["inference"], runtime_params=narrow)
    assert "resnet18_400, train: 1 fold out of date" in caplog.text
    assert oof.read_bytes() == before
    # The fix that the message suggests.
    run_session(
        project_copy,
        pipeline_names=["cnn_training", "inference"],
        runtime_params=narrow,
        only_missing_outputs=True,
    )
    assert oof.read_bytes() != before


def test_an_ancestor_of_other_folds_is_trained_again(project_copy: Path) -> None:
    """The model that initialises another one is trained again although its checkpoint exists."""
    run_session(project_copy, pipeline_names=["folds"], runtime_params=SEED)
    parent = project_copy / "data/06_models/clf2Dc_resnet34_3c/fold_0/checkpoint.safetensors"
    before = parent.read_bytes()
    narrow = {**SEED, "fold": 0, "models": "clf2Dc_resnet34_3x3"}
    run_session(project_copy, pipeline_names=["cnn_training"], runtime_params=narrow)
    assert parent.read_bytes() != before
