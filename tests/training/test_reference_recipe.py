"""The reference's numbers where earlier recipes differed from it (docs/reference.md)."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from recipes import REFERENCE, base_recipe, job_of, one_device
from rsna19_kedro.networks.build import build_network
from rsna19_kedro.networks.encoders import ENCODERS, build_encoder
from rsna19_kedro.networks.loss import class_weights, training_weights, weighted_bce
from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.training.loop import PhaseLoop
from rsna19_kedro.training.metrics import validation_metrics
from rsna19_kedro.training.optimizer import freeze_encoder
from rsna19_kedro.training.plan import plan_phase, unit_samples

SEGMENTATION = "resnet18_384_5_planes_bn_f8"
VOLUME = "dpn68_384_5_planes_combine_last"
SLICES = 540_000  # About four folds of stage 1.
STUDIES = 15_624  # 4/5 of its 19,530.
CHANNELS = [name for name in REFERENCE if name.startswith("clf2Dc")]
PLANES = [name for name in REFERENCE if name not in CHANNELS]


def _loop(name: str, phase: str) -> PhaseLoop:
    recipe = base_recipe(name)
    names = [known for known, _ in recipe.phases.in_order()]
    units = plan_phase(dict(recipe.phases.in_order())[phase], SLICES)
    network = build_network(ZOO[name])
    return PhaseLoop(
        one_device(), job_of(recipe, 400), None, network, names.index(phase), units, []
    )


def test_class_loss_is_the_mean_over_six_columns() -> None:
    """Weights 1,1,1,1,1,2 over 6; the score and the second level stay normalised."""
    assert training_weights().tolist() == pytest.approx([1 / 6] * 5 + [2 / 6])
    assert torch.equal(_loop("resnet18_400", "main").weights, training_weights())
    logits, labels = torch.zeros(4, 6), torch.ones(4, 6)
    loss = float(weighted_bce(logits, labels, training_weights()))
    assert loss == pytest.approx(7 / 6 * math.log(2))
    assert float(weighted_bce(logits, labels, class_weights())) == pytest.approx(math.log(2))
    assert validation_metrics([logits], [labels])["val_loss"] == pytest.approx(math.log(2))


# Batch norms of the encoder, and how many of them change while its weights are frozen.
NORMS = {
    **{name: (36, 36) for name in CHANNELS if "resnet34" in name},
    "resnet18_400": (20, 1),  # In the new stem.
    "resnet34_400_5_planes_combine_last_var_dr0": (36, 1),
    SEGMENTATION: (20, 1),
}


@pytest.mark.parametrize("name", NORMS)
def test_norms_while_the_encoder_is_frozen(name: str) -> None:
    """Training mode in the channels family, evaluation mode in the planes family."""
    module = _loop(name, "main" if name in CHANNELS else "prefit")
    freeze_encoder(module.network, True, train_norms=module.phase.train_frozen_norms)
    norms = [m for m in module.network.encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    module.network(torch.randn(2, ZOO[name].window, 64, 64))
    pairs = zip(norms, before, strict=True)
    changed = sum(not torch.equal(norm.running_mean, old) for norm, old in pairs)
    assert (len(norms), changed) == NORMS[name]
    trainable = {n for n, w in module.network.encoder.named_parameters() if w.requires_grad}
    assert all(n.startswith(("conv1", "bn1")) for n in trainable)
    assert bool(trainable) == (name in PLANES)


def test_norms_of_the_other_planes_models_are_in_evaluation_mode_while_frozen() -> None:
    for name in PLANES:
        assert not base_recipe(name).phases.prefit.train_frozen_norms, name


@pytest.mark.parametrize(("phase", "epoch"), [("prefit", 0), ("main", 0), ("main", 3)])
def test_masked_samples_of_the_segmentation_model(phase: str, epoch: int) -> None:
    """13.4 % of the samples have a mask; 0.96 % of the slices do, each shown 16 times."""
    masked = 5_173
    phases = dict(base_recipe(SEGMENTATION).phases.in_order())
    unit = next(u for u in plan_phase(phases[phase], SLICES, masked) if u.epoch == epoch)
    share = 16 * masked / unit.samples
    assert share == pytest.approx(0.134, abs=0.0005)
    # The first 5,173 slices stand for those with a mask; numbers from 540,000 on are repeats.
    order = unit_samples(unit, (1, 2))
    shown = np.mean((order < masked) | (order >= SLICES))
    assert shown == pytest.approx(0.134, abs=0.004)


# Optimiser updates of the phases with a frozen encoder (prefit), and of the channels family.
UPDATES = {
    ("resnet18_400", "prefit"): 2_500,
    ("resnet34_400_5_planes_combine_last_var_dr0", "prefit"): 2_500,
    ("airnet50_384", "prefit"): 5_000,
    ("se_preresnext26b_400", "prefit"): 3_333,
    ("resnext50_400", "prefit"): 5_000,
    (SEGMENTATION, "prefit"): 3_125,
    (VOLUME, "prefit"): 61,  # 488 batches of 4 runs, 8 of them per update
    ("clf2Dc_resnet34_3c", "main"): 20_000,
    ("clf2Dc_resnet50_3c_384", "main"): 25_000,
    ("clf2Dc_resnet34_3x3", "main"): 15_000,
    ("clf2Dc_resnet50_7c_400", "main"): 48_000,
    ("clf2Dc_resnet34_3x3_2", "main"): 15_000,
    ("clf2Dc_resnet34_3x3_5_slices", "main"): 15_000,
}


@pytest.mark.parametrize(("name", "phase_name"), UPDATES)
def test_updates_per_phase(name: str, phase_name: str) -> None:
    phase = dict(base_recipe(name).phases.in_order())[phase_name]
    units = plan_phase(phase, STUDIES if name == VOLUME else SLICES)
    updates = sum(math.ceil(unit.batches / phase.accumulate) for unit in units)
    assert updates == UPDATES[name, phase_name]


# Probability of shift, scale and rotation on single slices and on windows.
AFFINE = {
    **dict.fromkeys(PLANES, (0.8, 0.8)),
    **dict.fromkeys(CHANNELS, (0.9, 0.9)),
    VOLUME: (0.75, 0.75),
    SEGMENTATION: (0.75, 0.7),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_affine_probabilities(name: str) -> None:
    augmentation = base_recipe(name).augmentation
    assert tuple(map(augmentation.affine_probability, (True, False))) == AFFINE[name]


@pytest.mark.parametrize(
    ("phase", "epoch", "share"),
    [("prefit", 0, 0.75), ("main", 0, 0.75), ("main", 4, 0.75), ("main", 5, 0.7)],
)
def test_affine_changes_drawn_for_the_segmentation_model(
    phase: str, epoch: int, share: float
) -> None:
    loop = _loop(SEGMENTATION, phase)
    unit = next(unit for unit in loop.units if unit.epoch == epoch)
    changed = loop._draws(20_000, 0, unit).scale != 1
    assert changed.float().mean() == pytest.approx(share, abs=0.01)


def test_stem_norm_of_dpn68() -> None:
    """Epsilon 0.001 and momentum 0.02; the ResNets' new stems have PyTorch's defaults."""
    norms = {
        name: encoder.get_submodule(source.new_norm)
        for name, source in ENCODERS.items()
        if source.new_norm is not None
        for encoder in [build_encoder(name, 1, new_stem=True)[0]]
    }
    assert {name: (norm.eps, norm.momentum) for name, norm in norms.items()} == {
        "resnet18": (1e-5, 0.1),
        "resnet18_3_stages": (1e-5, 0.1),
        "resnet34": (1e-5, 0.1),
        "dpn68b": (0.001, 0.02),
    }


@pytest.mark.parametrize("name", ENCODERS)
def test_no_encoder_drops_features_or_paths_in_training(name: str) -> None:
    encoder, _ = build_encoder(name, 3, new_stem=False, side_px=64)
    slices = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        first, second = (encoder.train()(slices) for _ in range(2))
    assert torch.equal(first, second)
