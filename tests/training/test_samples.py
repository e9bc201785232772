"""Content of batches (windows, runs, masks, repeated samples), and reading ahead."""

import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from recipes import base_recipe
from rsna19_kedro.errors import InputError
from rsna19_kedro.networks.loss import class_weights, weighted_bce
from rsna19_kedro.networks.network_input import Draws
from rsna19_kedro.parallel import prefetch
from rsna19_kedro.training.batches import unit_batches, validation_studies
from rsna19_kedro.training.job import split_fold
from rsna19_kedro.training.loop import PhaseLoop
from rsna19_kedro.training.plan import plan_phase
from rsna19_kedro.training.recipe import Phase
from rsna19_kedro.training.samples import Batch, FoldSlices, SampleReader, Samples, SliceTable
from small_volumes import disk_masks, disk_volumes


@pytest.fixture
def fold(tmp_path) -> FoldSlices:
    store, folds, index = disk_volumes(tmp_path / "volumes")
    train, validation = split_fold(folds, index, 1)
    return FoldSlices(store, train, validation, disk_masks(store, tmp_path / "masks"))


def _reader(fold: FoldSlices, run_slices: int | None = None) -> SampleReader:
    return SampleReader(fold, 5, 1, run_slices)


def _read(
    fold: FoldSlices, *samples: tuple[int, int], predicted: int = 1, margin: int = 2
) -> Batch:
    """A batch of samples, given as pairs of study index and first predicted slice."""
    studies, first = np.array(samples).T
    chosen = Samples(studies, first, predicted, margin)
    return _reader(fold).read(chosen, np.arange(len(samples)))


def test_a_batch_holds_its_samples_in_order(fold: FoldSlices) -> None:
    samples = [(0, 7), (2, 0), (1, 3)]
    batch = _read(fold, *samples)
    for row, sample in enumerate(samples):
        for whole, single in zip(batch, _read(fold, sample), strict=True):
            assert np.array_equal(whole[row], single[0])


def test_study_shorter_than_the_window_is_padded_with_air_on_both_sides(tmp_path) -> None:
    store, folds, index = disk_volumes(tmp_path, studies=1, slices=2)
    table = SliceTable.from_frame(folds, index)
    fold = FoldSlices(store, table, table)
    (out,) = _read(fold, (0, 0), predicted=3).slices
    assert np.array_equal(out[2:4], store.read("ID_s0"))
    assert (out[[0, 1, 4, 5, 6]] == -1000).all()
    assert (_read(fold, (0, 5), margin=1).slices == -1000).all()


def test_window_is_the_slice_and_its_neighbours_padded_with_air(fold: FoldSlices) -> None:
    volume = torch.from_numpy(fold.store.read("ID_s0"))
    batch = _read(fold, (0, 0), (0, 6))
    first, last = batch.slices
    assert (first[:2] == -1000).all()
    assert torch.equal(first[2:], volume[:3])
    assert torch.equal(last[:4], volume[4:])
    assert (last[4] == -1000).all()
    assert torch.equal(batch.labels[0], torch.from_numpy(fold.train.labels[:1]))


def test_a_network_without_a_decoder_gets_no_masks(fold: FoldSlices) -> None:
    without = FoldSlices(fold.store, fold.train, fold.validation)
    assert _read(without, (0, 0)).masks.numel() == 0


def test_run_predicts_its_inner_slices_and_has_no_labels_outside_the_study(
    fold: FoldSlices,
) -> None:
    batch = _read(fold, (1, 6), predicted=4)
    assert batch.slices.shape[1] == 8
    labels = fold.train.labels_by_study()
    assert np.array_equal(batch.labels[0, :2].numpy(), labels[1][6:8])
    assert torch.isnan(batch.labels[0, 2:]).all()


def test_slice_without_labels_is_ignored_by_the_loss() -> None:
    one_study = np.zeros(2, dtype=int)
    table = SliceTable(["s"], np.array([3]), one_study, np.array([0, 2]), np.eye(2, 6, dtype="f4"))
    (labels,) = table.labels_by_study()
    assert np.isnan(labels[1]).all()
    logits = torch.randn(1, 3, 6)
    known = weighted_bce(logits[:, [0, 2]], torch.from_numpy(labels[None, [0, 2]]), class_weights())
    assert weighted_bce(logits, torch.from_numpy(labels[None]), class_weights()) == known


def test_masks_belong_to_their_slice(fold: FoldSlices) -> None:
    assert fold.train.study_ids == ["ID_s0", "ID_s2", "ID_s4"]  # The last study, s5, has no mask.
    assert fold.train.has_mask(fold.masks).all()
    batch = _read(fold, (1, 3), margin=0)
    assert np.array_equal(batch.masks[0].numpy(), fold.masks.read("ID_s2")[3])
    assert not fold.validation.has_mask(fold.masks)[-8:].any()
    other = FoldSlices(fold.store, fold.validation, fold.train, fold.masks)
    without = _read(other, (2, 0), margin=0)
    assert without.masks.shape == batch.masks.shape
    assert (without.masks == -1).all()


def test_repeated_samples_are_those_with_masks(fold: FoldSlices, monkeypatch) -> None:
    keep = {f"ID_s{n}" for n in (0, 1)}
    monkeypatch.setattr(type(fold.masks), "study_ids", lambda _: sorted(keep))
    phase = Phase(learning_rate=1, epochs=1, batch=1, mask_repeats={"times": 3, "epochs": 1})
    reader = _reader(fold)
    (unit,) = plan_phase(phase, len(reader), len(reader.masked))
    counts = np.bincount(reader.samples(unit, (1,)).studies, minlength=3)
    assert counts.tolist() == [3 * 8, 8, 8]


def test_mask_loss_counts_only_samples_with_masks() -> None:
    recipe = base_recipe("resnet18_384_5_planes_bn_f8", input={"crop_px": 32}, initial_weights=None)
    fabric = SimpleNamespace(world_size=1)
    loop = SimpleNamespace(recipe=recipe, fabric=fabric, _over_devices=lambda mean, _: mean)
    masks = torch.zeros(3, 32, 32, dtype=torch.int8)
    masks[0, :16], masks[1] = 2, -1
    draws = Draws(torch.zeros(3), torch.ones(3), torch.zeros(3, 2), torch.ones(3, 2))
    logits = torch.randn(3, 7, 8, 8)
    truth = torch.zeros(2, 7, 8, 8)
    truth[0, [1, 6], :4] = 1
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[[0, 2]], truth)
    assert torch.allclose(PhaseLoop._mask_loss(loop, logits, masks, draws), expected)
    masks[:] = -1
    assert PhaseLoop._mask_loss(loop, logits, masks, draws) == 0


@pytest.mark.parametrize("threads", [0, 1, 7])
def test_devices_read_their_part_of_every_batch(fold: FoldSlices, threads: int) -> None:
    reader = _reader(fold)
    (unit,) = plan_phase(Phase(learning_rate=1, epochs=1, batch=4), len(reader))
    cpu = torch.device("cpu")
    whole = list(unit_batches(reader, unit, (1,), cpu, threads))
    parts = [list(unit_batches(reader, unit, (1,), cpu, threads, (rank, 2))) for rank in (0, 1)]
    assert len(whole) == 6
    for batch, even, odd in zip(whole, *parts, strict=True):
        assert torch.equal(batch.slices[0::2], even.slices)
        assert torch.equal(batch.labels[1::2], odd.labels)
    both = [len(list(validation_studies(fold, cpu, threads, (rank, 2)))) for rank in (0, 1)]
    assert both == [2, 1]


def test_pinned_batches_are_the_same(fold: FoldSlices, monkeypatch) -> None:
    """Page-locked memory needs a GPU; the copy is replaced by a mock and counted."""
    copies = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda t: copies.append(t) or t.clone())
    batch = _read(fold, (0, 3))
    for plain, pinned in zip(batch, batch.pinned(), strict=True):
        assert np.array_equal(plain, pinned)
    assert len(copies) == 3


def test_results_are_computed_ahead_and_yielded_in_order() -> None:
    made: list[int] = []

    def make(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        made.append(number)
        return number

    results = prefetch(make, range(20), 3)
    assert next(results) == 0
    time.sleep(0.1)
    assert 2 <= len(made) <= 8  # At most two per thread in advance, and the first result.
    assert list(results) == list(range(1, 20))


def test_an_error_of_a_reader_is_raised_in_place_of_its_result() -> None:
    def make(number: int) -> int:
        if number == 2:
            raise InputError("The volume is damaged.")
        return number

    results = prefetch(make, range(5), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(InputError, match="damaged"):
        next(results)


def test_a_reader_that_stalls_is_an_error_that_names_the_cause() -> None:
    blocked = threading.Event()
    results = prefetch(lambda _: blocked.wait(), range(3), 2, stall_s=0.2)
    with pytest.raises(InputError, match=r"No data could be read for 0\.2 s"):
        next(results)
    blocked.set()


def test_masks_of_another_crop_are_refused(tmp_path) -> None:
    store, folds, index = disk_volumes(tmp_path / "volumes")
    masks = disk_masks(store, tmp_path / "masks")
    study = masks.study_ids()[0]
    masks.write(study, masks.read(study)[:, :-2, :-2].copy(), {})
    train, validation = split_fold(folds, index, 1)
    with pytest.raises(
        InputError, match=rf"mask of study {study} has .* its volume .* volume_prep"
    ):
        FoldSlices(store, train, validation, masks)


def test_a_process_exits_cleanly_while_readers_are_inside_torch() -> None:
    script = (
        "import torch; from rsna19_kedro.parallel import prefetch\n"
        "batches = prefetch(lambda _: torch.rand(400, 400).sort(), range(10_000), 12)\n"
        "next(batches); raise SystemExit(3)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert ended.returncode == 3, ended.stderr


def test_readers_end_with_their_consumer() -> None:
    before = threading.active_count()
    results = prefetch(lambda number: number, range(1000), 4)
    next(results)
    results.close()
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before
