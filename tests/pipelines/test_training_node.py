"""The training node: metadata of its checkpoint, and predictions of a model with windows."""

import numpy as np
import pandas as pd
import pytest
import torch

from recipes import base_recipe
from rsna19_kedro.contracts import PREDICTIONS
from rsna19_kedro.networks.made_from import MADE_FROM
from rsna19_kedro.networks.training_data import TRAINING_DATA, describe_training_data
from rsna19_kedro.pipelines.cnn_training.nodes import train_fold
from rsna19_kedro.pipelines.inference.nodes import predict_oof
from rsna19_kedro.prediction.settings import PredictionSettings
from rsna19_kedro.training import fit
from rsna19_kedro.training.job import Trained
from rsna19_kedro.training.recipe import TrainingSettings
from small_volumes import SIDE_PX, disk_volumes

ZEROS = pd.DataFrame({"hu": np.arange(-400, 1001), "value": np.float32(0)})


@pytest.mark.parametrize("synthetic", [True, False])
def test_checkpoint_records_its_training_data(tmp_path, monkeypatch, synthetic: bool) -> None:
    store, folds, index = disk_volumes(tmp_path / "volumes")
    history = [{"val_loss": 0.5, "epoch": 1.0}]
    monkeypatch.setattr(fit, "train_model", lambda job: Trained({}, history))
    _, checkpoint = train_fold(
        *(folds, folds, store, index),
        hu_lut=ZEROS,
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


def test_model_with_windows_is_trained_and_predicted_from_hu(tmp_path) -> None:
    """Slice by slice, without the look-up table, which is 0 everywhere."""
    store, folds, index = disk_volumes(tmp_path / "volumes", studies=2, slices=4)
    recipe = base_recipe(
        "maxvit_tiny_384",
        input={"crop_px": SIDE_PX, "windows": [[40, 80], [80, 200], [600, 2800]]},
        initial_weights=None,
        phases={"main": {"learning_rate": 1e-3, "steps": 2, "batch": 4}},
        variants=["normal"],
    )
    _, checkpoint = train_fold(
        *(folds, folds, store, index),
        hu_lut=ZEROS,
        download_facts={"synthetic": True},
        recipe=recipe,
        training=TrainingSettings(),
        fold=1,
        folder=tmp_path,
    )
    assert checkpoint.metadata[MADE_FROM]["hu_lut"] is None
    settings = PredictionSettings(batch_slices=3)
    table = predict_oof(checkpoint, store, index, folds, recipe, settings, 1, tmp_path)
    hu = torch.from_numpy(store.read("ID_s1")).float()
    padded = torch.nn.functional.pad(hu, (0, 0, 0, 0, 1, 1), value=-1000)
    network = checkpoint.network()
    with torch.inference_mode():
        expected = [network(padded[None, n : n + 3])[0, 0].sigmoid().numpy() for n in range(4)]
    predicted = table.sort_values("slice_num")[list(PREDICTIONS)].to_numpy()
    np.testing.assert_allclose(predicted, expected, atol=1e-5)
    assert np.ptp(predicted, axis=0).max() > 1e-4
