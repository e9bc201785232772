"""Training end to end on tiny volumes: it learns, and resuming gives the same weights."""

import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from rsna19_kedro.errors import DamagedFileError, InputError, ModelError
from rsna19_kedro.networks.build import build_network
from rsna19_kedro.networks.checkpoint import Checkpoint
from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.training import fit
from rsna19_kedro.training.fit import initial_network, train_model
from rsna19_kedro.training.job import Trained, TrainingJob, split_fold
from rsna19_kedro.training.loop import PhaseLoop
from rsna19_kedro.training.optimizer import freeze_encoder
from rsna19_kedro.training.recipe import Recipe, TrainingSettings
from rsna19_kedro.training.samples import FoldSlices
from small_volumes import SIDE_PX, disk_masks, disk_volumes

pytestmark = pytest.mark.slow

LUT = ((torch.arange(-400, 1001) - 50) / 30).clamp(-1, 1)  # HU 20..80


SEGMENTATION = "resnet18_384_5_planes_bn_f8"
MAXVIT = "maxvit_tiny_384"
RUNS = "dpn68_384_5_planes_combine_last"


def _recipe(model: str, **changes) -> Recipe:
    """Two short phases that use all keys of a recipe."""
    base = {
        "model": model,
        "input": {"crop_px": SIDE_PX},
        "augmentation": {"flip_horizontal": 0.5, "affine": 0.5, "shift": 0.1, "rotate_deg": 20},
        "initial_weights": ZOO[model].starts_from,
        "dropout": 0.1,
        "phases": {
            "prefit": {
                "optimizer": "adam",
                "learning_rate": 1e-3,
                "steps": 3,
                "batch": 4,
                "single_slice_epochs": "all",
                "frozen_steps": "all",
            },
            "main": {
                "learning_rate": 1e-3,
                "epochs": 2,
                "batch": 4,
                "accumulate": 2,
                "single_slice_epochs": 1,
                "frozen_steps": 2,
                "validations_per_epoch": 2,
                "gradient_clip": 10,
                "weight_decay": 0.001,
            },
        },
        "variants": ["normal"],
    }
    if model == SEGMENTATION:
        base["mask_loss_weight"] = 10
        base["phases"]["main"]["mask_repeats"] = {"times": 3, "epochs": 1}
    if model == MAXVIT:
        base["input"]["windows"] = [[40, 80], [80, 200], [600, 2800]]
        base["phases"]["main"] |= {"epochs": 1, "single_slice_epochs": 0}
    if model == RUNS:
        base["run_slices"] = 8
        base["phases"]["prefit"] |= {"single_slice_epochs": 0, "batch": 1}
        base["phases"]["main"] |= {"single_slice_epochs": 0, "batch": 1}
    return Recipe.model_validate(base | changes)


def _only(**phase) -> dict:
    return {"phases": {"main": {"learning_rate": 1e-3, "epochs": 1, "batch": 4, **phase}}}


def _job(recipe: Recipe, folder: Path, **settings) -> TrainingJob:
    store, folds, index = disk_volumes(folder / "volumes")
    train, validation = split_fold(folds, index, 1)
    resume = folder / "resume"
    resume.mkdir(exist_ok=True)
    masks = disk_masks(store, folder / "masks") if recipe.mask_loss_weight else None
    parent = _parent(recipe) if recipe.parent else None
    slices = FoldSlices(store, train, validation, masks)
    return TrainingJob(
        recipe, TrainingSettings(**settings), 1, slices, LUT, resume, folder / "logs", parent
    )


def _parent(recipe: Recipe, reduction: int = 1) -> Checkpoint:
    torch.manual_seed(5)
    spec = ZOO[recipe.parent]
    weights = build_network(spec).state_dict()
    return Checkpoint(spec, weights, LUT, SIDE_PX, SIDE_PX // reduction)


def _train(recipe: Recipe, folder: Path, **settings) -> Trained:
    return train_model(_job(recipe, folder, **settings))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Callable[[str, str], Trained]:
    """Uninterrupted trainings, each compared with several interrupted ones."""

    @functools.cache
    def train(model: str, keep: str) -> Trained:
        return _train(_recipe(model, keep=keep), tmp_path_factory.mktemp("uninterrupted"))

    return train


@pytest.mark.parametrize(
    ("model", "keep", "interrupted_in"),
    [
        ("resnet18_400", "last", (0, 0)),
        ("resnet18_400", "last", (1, 0)),
        ("resnet18_400", "last", (1, 3)),
        ("clf2Dc_resnet34_3x3_5_slices", "best", (1, 0)),
        ("clf2Dc_resnet34_3x3_5_slices", "best", (1, 3)),
        (SEGMENTATION, "last", (1, 2)),
        (RUNS, "last", (1, 2)),
        (MAXVIT, "best", (1, 1)),
    ],
)
def test_interrupted_and_resumed_training_gives_the_same_weights(
    tmp_path, monkeypatch, uninterrupted, model: str, keep: str, interrupted_in: tuple[int, int]
) -> None:
    recipe = _recipe(model, keep=keep)
    expected = uninterrupted(model, keep)
    with monkeypatch.context() as patch:
        train_unit = PhaseLoop._train_unit

        def interrupted(self: PhaseLoop, unit, *rest):
            if (self.seed[2], unit.index) == interrupted_in:
                raise KeyboardInterrupt
            return train_unit(self, unit, *rest)

        patch.setattr(PhaseLoop, "_train_unit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            _train(recipe, tmp_path)
    resumed = _train(recipe, tmp_path)
    validations = 2 if model == MAXVIT else 4
    assert [row["phase"] for row in expected.history] == ["prefit"] + ["main"] * validations
    for row, again in zip(expected.history, resumed.history, strict=True):
        assert row["val_loss"] == again["val_loss"]
    assert expected.weights.keys() == resumed.weights.keys()
    for name, value in expected.weights.items():
        assert torch.equal(value, resumed.weights[name]), name


def test_state_of_another_recipe_is_refused(tmp_path, monkeypatch) -> None:
    train_unit = PhaseLoop._train_unit

    def interrupted(self: PhaseLoop, *rest):
        if self.seed[2] == 1:
            raise KeyboardInterrupt
        return train_unit(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(PhaseLoop, "_train_unit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            _train(_recipe("resnet18_400"), tmp_path)
    assert (tmp_path / "resume" / "phase_0.ckpt").is_file()
    with pytest.raises(ModelError, match=r"differs from this: seed 0 -> 1.*clean --resume"):
        _train(_recipe("resnet18_400", seed=1), tmp_path)
    # Other test-time augmentations do not change the training.
    _train(_recipe("resnet18_400", variants=["normal"]), tmp_path)


BRIGHT = _only(optimizer="adamw", one_cycle={}, epochs=20, single_slice_epochs="all")


def test_it_learns_bright_disks(tmp_path) -> None:
    history = _train(_recipe("resnet18_400", **BRIGHT), tmp_path).history
    assert history[-1]["val_auc_any"] > 0.9
    assert history[-1]["train_loss"] < 0.8 * math.log(2)


def test_decoder_learns_to_locate_the_disks(tmp_path) -> None:
    job = _job(_recipe(SEGMENTATION, **BRIGHT), tmp_path)
    trained = train_model(job)
    assert trained.history[-1]["val_auc_any"] > 0.9
    network = build_network(ZOO[SEGMENTATION])
    network.load_state_dict(trained.weights)
    network.eval()
    store, masks = job.slices.store, job.slices.masks
    inside = total = 0
    for study in sorted(set(job.slices.validation.study_ids) & set(masks.study_ids())):
        window = torch.nn.functional.pad(
            torch.from_numpy(store.read(study)), (0, 0, 0, 0, 2, 2), value=-1000
        )
        with torch.inference_mode():
            predicted = network.outputs(LUT[window.clamp(-400, 1000).int() + 400][None]).masks
        truth = torch.from_numpy(masks.read(study)).clamp(min=0).float()
        blood = torch.nn.functional.max_pool2d(truth, 4) > 0
        hottest = predicted[0, :, 6].flatten(1).argmax(1)
        for number in torch.nonzero(blood.flatten(1).any(1))[:, 0]:
            inside += int(blood[number].flatten()[hottest[number]])
            total += 1
    assert inside >= 0.8 * total > 0


def test_frozen_encoder_keeps_its_weights_and_batch_norms(tmp_path) -> None:
    phase = _only(optimizer="adam", frozen_steps="all", single_slice_epochs="all")
    recipe = _recipe("resnet18_400", **phase)
    torch.manual_seed(recipe.seed + 1000)
    before = build_network(ZOO["resnet18_400"]).state_dict()
    after = _train(recipe, tmp_path).weights
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert {"encoder.conv1.weight", "head.weight", "combiner.conv.weight"} <= changed
    assert "encoder.bn1.running_mean" in changed
    assert not any("layer" in name for name in changed)


def test_batch_norms_of_a_frozen_encoder_change_in_training_mode(tmp_path) -> None:
    phase = _only(optimizer="adam", frozen_steps="all", train_frozen_norms=True)
    recipe = _recipe("clf2Dc_resnet34_3c", initial_weights=None, **phase)
    torch.manual_seed(recipe.seed + 1000)
    before = build_network(ZOO[recipe.model]).state_dict()
    after = _train(recipe, tmp_path).weights
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert sum(name.endswith("running_mean") for name in changed) == 36
    learned = {name for name in changed if "running" not in name and "tracked" not in name}
    assert learned == {"head.weight", "head.bias"}


def test_batches_of_an_update_are_accumulated(tmp_path) -> None:
    """Three batches per epoch, three per update."""
    phase = {"optimizer": "adam", "learning_rate": 1e-3, "steps": 6, "batch": 1, "accumulate": 3}
    recipe = _recipe(RUNS, phases={"prefit": {**phase, "frozen_steps": "all"}})
    updates = []
    hook = register_optimizer_step_post_hook(lambda *_: updates.append(1))
    try:
        _train(recipe, tmp_path)
    finally:
        hook.remove()
    assert len(updates) == 2


@pytest.mark.parametrize("encoder_model", ["airnet50_384", "se_preresnext26b_400", RUNS])
def test_new_stem_of_a_frozen_encoder_is_trained(encoder_model: str) -> None:
    from rsna19_kedro.networks.encoders import ENCODERS

    network = build_network(ZOO[encoder_model])
    freeze_encoder(network, True)
    trainable = {name for name, w in network.encoder.named_parameters() if w.requires_grad}
    stem = ENCODERS[ZOO[encoder_model].encoder].stem
    assert trainable == {
        name for name, _ in network.encoder.named_parameters() if name.startswith(stem)
    }
    training = {name for name, m in network.encoder.named_modules() if m.training}
    assert all(name.startswith(stem) for name in training)


def test_descendant_starts_from_its_parents_encoder(tmp_path) -> None:
    recipe = _recipe("clf2Dc_resnet50_7c_400", **_only())
    job = _job(recipe, tmp_path)
    network = initial_network(job)
    stem = network.encoder.layer0.conv1.weight
    assert torch.equal(stem[:, 2:5], job.parent.weights["encoder.layer0.conv1.weight"])
    assert (stem[:, [0, 1, 5, 6]] == 0).all()
    other = job.parent.weights["encoder.layer4.0.conv1.weight"]
    assert torch.equal(network.encoder.layer4[0].conv1.weight, other)


def test_parent_of_another_model_or_resolution_is_refused(tmp_path) -> None:
    from dataclasses import replace

    recipe = _recipe("clf2Dc_resnet34_3x3", **_only())
    job = _job(recipe, tmp_path)
    with pytest.raises(InputError, match="reduction factor 2"):
        train_model(replace(job, parent=_parent(recipe, reduction=2)))
    other = replace(_parent(recipe), spec=ZOO["resnet18_400"])
    with pytest.raises(InputError, match="checkpoint of resnet18_400"):
        train_model(replace(job, parent=other))
    with pytest.raises(InputError, match="starts from clf2Dc_resnet34_3c"):
        train_model(replace(job, parent=None))


@pytest.mark.parametrize(
    ("precision", "kinds"),
    [("bf16-mixed", {torch.bfloat16}), ("32-true", {torch.float32})],
)
def test_networks_compute_in_the_requested_precision(
    tmp_path, monkeypatch, precision: str, kinds: set[torch.dtype]
) -> None:
    seen: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    forward = torch.nn.Conv2d.forward

    def recorded(self: torch.nn.Conv2d, slices: torch.Tensor) -> torch.Tensor:
        output = forward(self, slices)
        seen[self.training].add(output.dtype)
        return output

    monkeypatch.setattr(torch.nn.Conv2d, "forward", recorded)
    _train(_recipe("resnet18_400", **_only(steps=2, epochs=None)), tmp_path, precision=precision)
    assert seen == {True: kinds, False: kinds}  # Training and validation.


def test_loss_that_is_not_finite_stops_the_training_and_lists_its_slices(tmp_path) -> None:
    recipe = _recipe("resnet18_400", **_only(optimizer="adam", learning_rate=1e30, epochs=4))
    with pytest.raises(InputError, match=r"loss became.*loss_not_finite\.json.*learning_rate"):
        _train(recipe, tmp_path)
    note = json.loads((tmp_path / "resume" / "loss_not_finite.json").read_text())
    assert len(note["slices"]) == 4
    assert note["slices"][0]["study_id"].startswith("ID_s")
    assert (note["phase"], note["fold"]) == ("main", 1)


def test_weights_that_are_not_finite_stop_the_training_in_the_validation(tmp_path) -> None:
    """The loss of the only batch is finite; the weights after it are not."""
    recipe = _recipe("resnet18_400", **_only(learning_rate=1e30, steps=1, epochs=None))
    with pytest.raises(InputError, match=r"not finite in the validation.*main\.learning_rate"):
        _train(recipe, tmp_path)


def test_out_of_memory_names_the_keys_to_change(tmp_path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(PhaseLoop, "_loss", full)
    with pytest.raises(InputError, match=r"batch of 4.*resnet18_400\.phases\.main\.batch"):
        _train(_recipe("resnet18_400", **_only()), tmp_path)


def test_batch_larger_than_the_fold_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="only 24 training samples"):
        _train(_recipe("resnet18_400", **_only(batch=25)), tmp_path)


def test_tensorboard_holds_the_curves(tmp_path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _train(_recipe("resnet18_400", **_only(epochs=2)), tmp_path)
    events = EventAccumulator(str(tmp_path / "logs"))
    events.Reload()
    assert len(events.Scalars("main/val_loss")) == 2
    assert events.Scalars("main/learning_rate")[0].value == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("model", "phase"),
    [
        ("clf2Dc_resnet34_3c", {"optimizer": "adam", "validations_per_epoch": 2}),
        ("clf2Dc_resnet34_3x3_5_slices", {"accumulate": 2, "gradient_clip": 0.1}),
    ],
)
def test_two_devices_share_batches_and_studies(tmp_path, model: str, phase: dict) -> None:
    """With a frozen encoder (no batch norm in training mode), two devices equal one."""
    phase = _only(frozen_steps="all", epochs=2, **phase)
    recipe = _recipe(model, dropout=0.0, initial_weights=None, **phase)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = _train(recipe, tmp_path / "one", accelerator="cpu")
    two = _train(recipe, tmp_path / "two", accelerator="cpu", devices=2)
    for row, other in zip(one.history, two.history, strict=True):
        assert row["val_loss"] == pytest.approx(other["val_loss"], abs=1e-6)
    for name, value in one.weights.items():
        assert torch.allclose(value.float(), two.weights[name].float(), rtol=0, atol=1e-6), name


def test_failure_in_the_process_of_a_device_is_explained(tmp_path) -> None:
    recipe = _recipe("resnet18_400", **_only(optimizer="adam", learning_rate=1e30, epochs=4))
    with pytest.raises(InputError, match=r"loss became.*loss_not_finite\.json.*learning_rate"):
        _train(recipe, tmp_path, accelerator="cpu", devices=2)
    note = json.loads((tmp_path / "resume" / "loss_not_finite.json").read_text())
    assert len(note["slices"]) == 2  # One device has half of the batch.


def test_error_of_another_process_is_rebuilt_from_its_text() -> None:
    text = "Traceback ...\nrsna19_kedro.errors.DamagedFileError: File a is damaged.\nRemove it.\n"
    error = fit._error_of_process(text)
    assert isinstance(error, DamagedFileError)
    assert str(error) == "File a is damaged.\nRemove it."
    assert fit._error_of_process("Traceback ...\nKeyError: 3") is None


def test_devices_are_weighted_by_their_number_of_samples() -> None:
    """Gradients are averaged over devices; the result must be the mean over all samples."""
    one, other = torch.tensor([1.0, 2.0]), torch.tensor([6.0, 7.0, 8.0])

    def weighted(mean: torch.Tensor, count: int, total: int) -> torch.Tensor:
        average = torch.tensor(total / 2)
        loop = SimpleNamespace(
            fabric=SimpleNamespace(world_size=2), _mean_over_devices=lambda _: average
        )
        return PhaseLoop._over_devices(loop, mean, torch.tensor(count))

    parts = [weighted(part.mean(), len(part), 5) for part in (one, other)]
    assert float(sum(parts) / 2) == pytest.approx(float(torch.cat([one, other]).mean()))
    assert float(weighted(torch.tensor(0.0), 0, 0)) == 0  # No device has a sample.


def test_fold_without_slices_or_positives_is_refused(tmp_path) -> None:
    _, folds, index = disk_volumes(tmp_path)
    with pytest.raises(InputError, match="fold 4 holds no labelled slices"):
        split_fold(folds, index, 4)
    with pytest.raises(InputError, match="none of the 24 training slices is positive"):
        split_fold(folds.assign(any=0), index, 1)


def test_validation_may_use_another_table(tmp_path) -> None:
    _, folds, index = disk_volumes(tmp_path)
    relabelled = folds.assign(epidural=1 - folds["epidural"])
    train, validation = split_fold(relabelled, index, 1, folds)
    assert set(validation.study_ids).isdisjoint(train.study_ids)
    assert (validation.labels[:, 0] == validation.labels[:, 5]).all()
    assert (train.labels[:, 0] == 1 - train.labels[:, 5]).all()


def test_class_without_positives_is_a_warning(tmp_path, caplog) -> None:
    _, folds, index = disk_volumes(tmp_path)
    split_fold(folds.assign(epidural=0), index, 1)
    assert "no positive training slice for epidural" in caplog.text


@pytest.mark.parametrize("readers", [0, 5])
def test_number_of_readers_changes_nothing(tmp_path, readers: int) -> None:
    recipe = _recipe("resnet18_400", **_only())
    (tmp_path / "automatic").mkdir()
    (tmp_path / "given").mkdir()
    automatic = _train(recipe, tmp_path / "automatic")
    given = _train(recipe, tmp_path / "given", readers=readers)
    for name, value in automatic.weights.items():
        assert torch.equal(value, given.weights[name]), name
