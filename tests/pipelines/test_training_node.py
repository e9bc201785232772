"""Metadata that the training node writes into a checkpoint."""

import numpy as np
import pandas as pd
import pytest

from recipes import base_recipe
from rsna19_kedro.networks.training_data import TRAINING_DATA, describe_training_data
from rsna19_kedro.pipelines.cnn_training.nodes import train_fold
from rsna19_kedro.training import fit
from rsna19_kedro.training.job import Trained
from rsna19_kedro.training.recipe import TrainingSettings
from small_volumes import disk_volumes


@pytest.mark.parametrize("synthetic", [True, False])
def test_checkpoint_records_its_training_data(tmp_path, monkeypatch, synthetic: bool) -> None:
    store, folds, index = disk_volumes(tmp_path / "volumes")
    history = [{"val_loss": 0.5, "epoch": 1.0}]
    monkeypatch.setattr(fit, "train_model", lambda job: Trained({}, history))
    _, checkpoint = train_fold(
        *(folds, folds, store, index),
        hu_lut=pd.DataFrame({"hu": np.arange(-400, 1001), "value": np.float32(0)}),
        download_facts={"synthetic": synthetic},
        recipe=base_recipe("resnet18_400"),
        training=TrainingSettings(),
        fold=1,
        folder=tmp_path,
    )
    recorded = checkpoint.metadata[TRAINING_DATA]
    rows = folds[folds["fold"] == 0]  # Of two folds.
    assert recorded["synthetic"] == synthetic
    assert (recorded["patients"], recorded["studies"], recorded["slices"]) == (3, 3, 24)
    assert recorded["positive_slices"]["any"] == rows["any"].sum()
    assert recorded["sha256"] == describe_training_data(rows, synthetic=False)["sha256"]
    assert "ID_p" not in str(checkpoint.metadata)
