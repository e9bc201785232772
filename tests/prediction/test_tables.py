"""Prediction tables: their rows, and resuming an interrupted one with the same results."""

import numpy as np
import pandas as pd
import pytest
import torch

from recipes import base_recipe
from rsna19_kedro.contracts import AREAS, KEYS, PREDICTIONS
from rsna19_kedro.datasets import TableDataset
from rsna19_kedro.errors import InputError
from rsna19_kedro.networks.build import build_network
from rsna19_kedro.networks.checkpoint import Checkpoint
from rsna19_kedro.networks.whole_study import whole_study_maps
from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.pipelines.inference.nodes import predict_oof
from rsna19_kedro.prediction.engine import Engine, Study, read_ahead
from rsna19_kedro.prediction.settings import PredictionSettings
from rsna19_kedro.prediction.tables import predict_slices
from small_volumes import SIDE_PX, disk_volumes

LUT = ((torch.arange(-400, 1001) - 50) / 30).clamp(-1, 1)
VARIANTS = ("normal", "random_1", "flip_horizontal")
SETTINGS = PredictionSettings(part_studies=2, batch_slices=11)


@pytest.fixture
def checkpoint() -> Checkpoint:
    torch.manual_seed(3)
    spec = ZOO["resnet18_400"]
    return Checkpoint(spec, build_network(spec).state_dict(), LUT, SIDE_PX, SIDE_PX)


@pytest.fixture
def parts(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    return folder


def test_rows_are_slices_times_augmentations_in_order(checkpoint, parts, tmp_path) -> None:
    store, folds, _ = disk_volumes(tmp_path / "v", studies=5)
    requested = folds[folds["slice_num"] != 3].sample(frac=1, random_state=0)
    table = predict_slices(checkpoint, store, requested, VARIANTS, SETTINGS, parts, title="t")
    assert len(table) == 3 * len(requested)
    assert table["tta"].tolist() == list(VARIANTS) * len(requested)
    slices = table.iloc[::3]
    assert slices.equals(slices.sort_values(["study_id", "slice_num"]))
    assert set(slices["sop_instance_uid"]) == set(requested["sop_instance_uid"])
    values = table[list(PREDICTIONS)].to_numpy()
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    # Each row has the prediction of its slice.
    (prediction,) = Engine.of(checkpoint, VARIANTS, SETTINGS).predict(
        [Study("ID_s2", store.read("ID_s2"))]
    )
    row = table[
        (table.study_id == prediction.study_id) & (table.slice_num == 5) & (table.tta == "random_1")
    ]
    assert np.allclose(
        row[list(PREDICTIONS)].to_numpy()[0], prediction.probabilities[1, 5], atol=1e-5
    )


def test_interrupted_table_is_resumed_with_the_same_results(
    checkpoint, parts, tmp_path, monkeypatch
) -> None:
    store, folds, _ = disk_volumes(tmp_path / "v", studies=5)
    (tmp_path / "other").mkdir()
    whole = predict_slices(
        checkpoint, store, folds, VARIANTS, SETTINGS, tmp_path / "other", title="t"
    )
    read = type(store).read
    seen: list[str] = []

    def interrupted(self, study_id: str, *arguments: int):
        seen.append(study_id)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return read(self, study_id, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            predict_slices(checkpoint, store, folds, VARIANTS, SETTINGS, parts, title="t")
    assert [path.name for path in parts.glob("*.parquet")] == ["from_000000.parquet"]
    seen.clear()
    monkeypatch.setattr(
        type(store), "read", lambda self, name, *rest: seen.append(name) or read(self, name, *rest)
    )
    again = predict_slices(checkpoint, store, folds, VARIANTS, SETTINGS, parts, title="t")
    pd.testing.assert_frame_equal(again, whole)
    assert seen == ["ID_s2", "ID_s3", "ID_s4"]


def test_parts_of_another_checkpoint_are_not_reused(checkpoint, parts, tmp_path) -> None:
    store, folds, _ = disk_volumes(tmp_path / "v", studies=3)
    first = predict_slices(checkpoint, store, folds, VARIANTS, SETTINGS, parts, title="t")
    checkpoint.weights["head.bias"] += 1
    second = predict_slices(checkpoint, store, folds, VARIANTS, SETTINGS, parts, title="t")
    assert (second[list(PREDICTIONS)] > first[list(PREDICTIONS)]).all(axis=None)


def test_checkpoint_of_another_input_size_is_refused(checkpoint, parts, tmp_path) -> None:
    store, folds, index = disk_volumes(tmp_path / "v")
    recipe = base_recipe("resnet18_400", input={"crop_px": 32, "resize_px": 16})
    with pytest.raises(InputError, match=r"does not fit resnet18_400 \(reduction factor 2\)"):
        predict_oof(checkpoint, store, index, folds, recipe, SETTINGS, 0, parts.parent)


def test_half_precision_is_close(checkpoint, tmp_path) -> None:
    store, _, _ = disk_volumes(tmp_path / "v", studies=1)
    study = Study("ID_s0", store.read("ID_s0"))
    half = SETTINGS.model_copy(update={"precision": "bf16-mixed"})
    single, low = (
        next(iter(Engine.of(checkpoint, VARIANTS, settings).predict([study]))).probabilities
        for settings in (SETTINGS, half)
    )
    assert np.abs(single - low).max() < 0.05
    assert not np.array_equal(single, low)


def test_an_error_of_the_reader_reaches_the_caller() -> None:
    def broken():
        yield Study("a", np.zeros((1, 2, 2), np.int16))
        raise InputError("no such study")

    with pytest.raises(InputError, match="no such study"):
        list(read_ahead(broken()))


def test_keys_are_kept(checkpoint, tmp_path) -> None:
    store, folds, index = disk_volumes(tmp_path / "v", studies=2)
    recipe = base_recipe("resnet18_400", input={"crop_px": SIDE_PX}, variants=["normal"])
    table = predict_oof(checkpoint, store, index, folds, recipe, SETTINGS, 1, tmp_path)
    assert list(table.columns) == [*KEYS, "model", "fold", "tta", *PREDICTIONS]
    assert set(table["study_id"]) == {"ID_s1"}
    # Parts are kept until the table is saved, so that an interruption loses nothing.
    parts = tmp_path / "oof_parts"
    assert list(parts.glob("*.parquet"))
    TableDataset(filepath=str(tmp_path / "oof.parquet"), clears=parts.name).save(table)
    assert not list(parts.iterdir())


def test_network_with_masks_predicts_their_areas(parts, tmp_path) -> None:
    store, folds, _ = disk_volumes(tmp_path / "v", studies=3)
    spec = ZOO["resnet18_384_5_planes_bn_f8"]
    torch.manual_seed(3)
    network = build_network(spec).eval()
    masked = Checkpoint(spec, network.state_dict(), LUT, SIDE_PX, SIDE_PX)
    variants = ("flip_horizontal", "normal")
    table = predict_slices(masked, store, folds, variants, SETTINGS, parts, title="t")
    assert list(table.columns) == [*KEYS, "tta", *PREDICTIONS, *AREAS]
    assert (table[list(AREAS)].dtypes == np.float32).all()
    slice_num = 4
    network_input = LUT[torch.from_numpy(store.read("ID_s1")).clamp(-400, 1000).long() + 400]
    with torch.inference_mode():
        (maps,) = whole_study_maps(network, [network_input[None]], float(LUT[0]))
        output = network.classify(maps)
    expected = torch.sigmoid(output.masks[0, slice_num]).mean(dim=(1, 2)).numpy()
    row = table[
        (table.study_id == "ID_s1") & (table.slice_num == slice_num) & (table.tta == "normal")
    ]
    assert np.allclose(row[list(AREAS)].to_numpy()[0], expected, atol=1e-4)
    assert len(set(np.round(expected, 5))) == len(AREAS)


def test_out_of_memory_names_the_setting_to_lower(checkpoint, tmp_path, monkeypatch) -> None:
    store, _, _ = disk_volumes(tmp_path / "v", studies=1)
    engine = Engine.of(checkpoint, VARIANTS, SETTINGS)

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(type(engine.network), "encode_stacks", full)
    with pytest.raises(InputError, match=r"11 slices.*prediction\.batch_slices=5"):
        list(engine.predict([Study("ID_s0", store.read("ID_s0"))]))
