"""Training of all thirteen models, and prediction of the eleven members of the second level."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recipes import REFERENCE
from rsna19_kedro.contracts import KEYS, PREDICTIONS
from rsna19_kedro.networks.zoo import ZOO

from .conftest import run_session

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

FOLD = 2
MEMBERS = [name for name in REFERENCE if not ZOO[name].only_starts_others]


@pytest.fixture(scope="module")
def predicted(finished_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with trained and predicted fold 2 of ``models: all``."""
    from .conftest import copy_finished

    project = copy_finished(finished_project, tmp_path_factory.mktemp("all") / "project")
    scope = {"fold": FOLD, "models": "all"}
    for name in ("cnn_training", "inference"):
        run_session(project, pipeline_names=[name], runtime_params=scope, only_missing_outputs=True)
    return project


def test_all_thirteen_are_trained_and_eleven_predicted(predicted: Path) -> None:
    for model in REFERENCE:
        assert (predicted / f"data/06_models/{model}/fold_{FOLD}/checkpoint.safetensors").is_file()
    assert len(MEMBERS) == 11
    baseline = predicted / f"data/07_model_output/clf2Dc_resnet50_3c_384/fold_{FOLD}"
    assert not baseline.exists()


@pytest.mark.parametrize("model", MEMBERS)
@pytest.mark.parametrize("kind", ["oof", "test"])
def test_tables_have_one_row_per_slice_and_variant(predicted: Path, model: str, kind: str) -> None:
    data = predicted / "data"
    table = pd.read_parquet(data / f"07_model_output/{model}/fold_{FOLD}/{kind}.parquet")
    slices = pd.read_parquet(
        data / "03_primary" / ("folds.parquet" if kind == "oof" else "test_slices.parquet")
    )
    if kind == "oof":
        slices = slices[slices["fold"] == FOLD]
    variants = table["tta"].unique()
    assert len(table) == len(slices) * len(variants)
    assert not table.duplicated(["sop_instance_uid", "tta"]).any()
    assert set(table["sop_instance_uid"]) == set(slices["sop_instance_uid"])
    values = table[list(PREDICTIONS)].to_numpy()
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert (values <= 1).all()
    assert set(KEYS) <= set(table.columns)
    assert (table["model"] == model).all()


def test_repeated_prediction_gives_the_same_tables(predicted: Path) -> None:
    """One model per family, with its tables deleted."""
    models = ["clf2Dc_resnet50_7c_400", "dpn68_384_5_planes_combine_last"]
    models.append("resnet18_384_5_planes_bn_f8")
    paths = [
        predicted / f"data/07_model_output/{model}/fold_{FOLD}/{kind}.parquet"
        for model in models
        for kind in ("oof", "test")
    ]
    before = [pd.read_parquet(path) for path in paths]
    for path in paths:
        path.unlink()
    run_session(
        predicted,
        pipeline_names=["inference"],
        runtime_params={"fold": FOLD, "models": ",".join(models)},
        only_missing_outputs=True,
    )
    for path, table in zip(paths, before, strict=True):
        pd.testing.assert_frame_equal(pd.read_parquet(path), table)
