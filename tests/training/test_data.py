"""What a batch holds: windows, runs, masks, repeated samples."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from recipes import base_recipe
from rsna19_kedro.networks.loss import class_weights, weighted_bce
from rsna19_kedro.networks.network_input import Draws
from rsna19_kedro.training.data import (
    Batch,
    FoldData,
    FoldSlices,
    SampleDataset,
    SampleKind,
    Samples,
)
from rsna19_kedro.training.job import split_fold
from rsna19_kedro.training.module import PhaseModule
from rsna19_kedro.training.plan import plan_phase
from rsna19_kedro.training.recipe import Phase
from rsna19_kedro.training.slices import SliceTable, StoredSlices, fill_window, masked_slices
from small_volumes import disk_masks, disk_volumes


@pytest.fixture
def fold(tmp_path) -> FoldSlices:
    store, folds, index = disk_volumes(tmp_path / "volumes")
    train, validation = split_fold(folds, index, 1)
    return FoldSlices(store, train, validation, disk_masks(store, tmp_path / "masks"))


def _one(data: SampleDataset, position: int = 0) -> Batch:
    """A sample without the axis of the batch."""
    return Batch(*(field[0] for field in data[position]))


def test_a_batch_is_its_samples_one_after_the_other(fold: FoldSlices) -> None:
    samples = Samples(np.array([0, 2, 1]), np.array([7, 0, 3]), predicted=1, margin=2)
    reader = StoredSlices(fold.store, "ID_s0")
    data = SampleDataset(reader, fold.train.studies(), samples, fold.masks)
    batch = data.__getitems__([0, 1, 2])
    for position in range(3):
        for whole, single in zip(batch, _one(data, position), strict=True):
            assert torch.equal(whole[position], single)


def test_study_shorter_than_the_window_is_air_on_both_sides(tmp_path) -> None:
    store, _, _ = disk_volumes(tmp_path, studies=1, slices=2)
    out = np.zeros((7, 32, 32), np.int16)
    fill_window(StoredSlices(store, "ID_s0"), "ID_s0", 2, -2, out)
    assert np.array_equal(out[2:4], store.read("ID_s0"))
    assert (out[[0, 1, 4, 5, 6]] == -1000).all()
    far = np.zeros((2, 32, 32), np.int16)
    fill_window(StoredSlices(store, "ID_s0"), "ID_s0", 2, 3, far)
    assert (far == -1000).all()


def test_window_is_the_slice_and_its_neighbours_with_air_beyond(fold: FoldSlices) -> None:
    samples = Samples(np.array([0, 0]), np.array([0, 6]), predicted=1, margin=2)
    data = SampleDataset(StoredSlices(fold.store, "ID_s0"), fold.train.studies(), samples)
    volume = torch.from_numpy(fold.store.read("ID_s0"))
    first, last = _one(data, 0), _one(data, 1)
    assert (first.slices[:2] == -1000).all()
    assert torch.equal(first.slices[2:], volume[:3])
    assert torch.equal(last.slices[:4], volume[4:])
    assert (last.slices[4] == -1000).all()
    assert torch.equal(first.labels, torch.from_numpy(fold.train.labels[:1]))
    assert first.masks.numel() == 0


def test_run_predicts_its_inner_slices_and_knows_no_label_beyond_the_study(
    fold: FoldSlices,
) -> None:
    samples = Samples(np.array([1]), np.array([6]), predicted=4, margin=2)
    batch = _one(SampleDataset(StoredSlices(fold.store, "ID_s0"), fold.train.studies(), samples))
    assert batch.slices.shape[0] == 8
    table = fold.train.studies()
    assert np.array_equal(batch.labels[:2].numpy(), table.labels[1][6:8])
    assert torch.isnan(batch.labels[2:]).all()


def test_slice_without_a_label_is_unknown_to_the_loss() -> None:
    table = SliceTable(["s", "s"], np.array([0, 2]), np.array([3, 3]), np.eye(2, 6, dtype="f4"))
    (labels,) = table.studies().labels
    assert np.isnan(labels[1]).all()
    logits = torch.randn(1, 3, 6)
    known = weighted_bce(logits[:, [0, 2]], torch.from_numpy(labels[None, [0, 2]]), class_weights())
    assert weighted_bce(logits, torch.from_numpy(labels[None]), class_weights()) == known


def test_masks_come_with_their_slice(fold: FoldSlices) -> None:
    table = fold.train.studies()
    assert table.study_ids == ["ID_s0", "ID_s2", "ID_s4"]  # The last study, s5, has no mask.
    has = masked_slices(fold.train, fold.masks)
    assert has.all()
    samples = Samples(np.array([1]), np.array([3]), predicted=1, margin=0)
    reader = StoredSlices(fold.store, "ID_s0")
    batch = _one(SampleDataset(reader, table, samples, fold.masks))
    assert np.array_equal(batch.masks.numpy(), fold.masks.read("ID_s2")[3])
    assert not masked_slices(fold.validation, fold.masks)[-8:].any()
    last = Samples(np.array([2]), np.array([0]), predicted=1, margin=0)
    without = _one(SampleDataset(reader, fold.validation.studies(), last, fold.masks))
    assert without.masks.shape == batch.masks.shape
    assert (without.masks == -1).all()


def test_repeated_samples_are_those_with_masks(fold: FoldSlices, monkeypatch) -> None:
    keep = {f"ID_s{n}" for n in (0, 1)}
    monkeypatch.setattr(type(fold.masks), "study_ids", lambda _: sorted(keep))
    phase = Phase(learning_rate=1, epochs=1, batch=1, mask_repeats={"times": 3, "epochs": 1})
    units = plan_phase(phase, len(fold.train), int(masked_slices(fold.train, fold.masks).sum()))
    data = FoldData(fold, SampleKind(5, 1), units, (1,))
    shown = data.samples(units[0])
    counts = np.bincount(shown.studies, minlength=3)
    assert counts.tolist() == [3 * 8, 8, 8]


def test_mask_loss_counts_only_samples_that_have_one() -> None:
    recipe = base_recipe("resnet18_384_5_planes_bn_f8", input={"crop_px": 32}, initial_weights=None)
    network = torch.nn.Identity()
    module = PhaseModule(network, recipe, "main", [], torch.zeros(1401), (0,), 32, [])
    module.trainer = SimpleNamespace(world_size=1)
    masks = torch.zeros(3, 32, 32, dtype=torch.int8)
    masks[0, :16], masks[1] = 2, -1
    draws = Draws(torch.zeros(3), torch.ones(3), torch.zeros(3, 2), torch.ones(3, 2))
    logits = torch.randn(3, 7, 8, 8)
    truth = torch.zeros(2, 7, 8, 8)
    truth[0, [1, 6], :4] = 1
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[[0, 2]], truth)
    assert torch.allclose(module._mask_loss(logits, masks, draws), expected)
    masks[:] = -1
    assert module._mask_loss(logits, masks, draws) == 0
