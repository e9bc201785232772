"""Every recipe over all of its steps, against tables computed by hand from the reference."""

from itertools import groupby
from typing import NamedTuple

import pytest

from recipes import REFERENCE, base_recipe
from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.training.plan import plan_phase
from rsna19_kedro.training.schedules import is_frozen, learning_rate

SLICES = 540_000  # Rounded size of four folds of stage 1.
STUDIES = 15_624
MASKED = 6_000


class Stretch(NamedTuple):
    """Consecutive batches with the same settings."""

    phase: str
    optimizer: str
    batches: int
    batch: int
    slices: int
    frozen: bool
    rate: float


def _stretches(name: str) -> list[Stretch]:
    """All steps of a recipe; equal neighbours are merged."""
    recipe, spec = base_recipe(name), ZOO[name]
    samples = STUDIES if recipe.run_slices else SLICES
    steps = []
    for phase_name, phase in recipe.phases.in_order():
        units = plan_phase(phase, samples, MASKED if spec.decoder else 0)
        total = units[-1].first_step + units[-1].batches
        for unit in units:
            slices = spec.channels if unit.single_slice else recipe.run_slices or spec.window
            for step in range(unit.first_step, unit.first_step + unit.batches):
                rate = float(f"{learning_rate(phase, step, unit.epoch, total):.3g}")
                frozen = is_frozen(phase, step)
                steps.append((phase_name, phase.optimizer, unit.batch, slices, frozen, rate))
    return [
        Stretch(name, optimizer, len(list(run)), batch, slices, frozen, rate)
        for (name, optimizer, batch, slices, frozen, rate), run in groupby(steps)
    ]


# Frozen prefit; 540,000 / (2 x batch) batches of single slices in the first epochs at the full
# rate; then windows of 5; a fifth of the rate from epoch 6 on. One row per range of epochs.
PLANES = {
    "resnet18_400": [
        ("prefit", "adam", 2_500, 32, 1, True, 1e-4),
        ("main", "radam", 5 * 16_875, 32, 1, False, 1e-4),
        ("main", "radam", 33_750, 16, 5, False, 1e-4),
        ("main", "radam", 33_750, 16, 5, False, 2e-5),
    ],
    "resnet34_400_5_planes_combine_last_var_dr0": [
        ("prefit", "adam", 2_500, 32, 1, True, 1e-4),
        ("main", "radam", 6 * 16_875, 32, 1, False, 1e-4),
        ("main", "radam", 2 * 33_750, 16, 5, False, 2e-5),
    ],
    "airnet50_384": [
        ("prefit", "adam", 5_000, 16, 1, True, 1e-4),
        ("main", "radam", 5 * 33_750, 16, 1, False, 2.5e-5),
        ("main", "radam", 67_500, 8, 5, False, 2.5e-5),
        ("main", "radam", 67_500, 8, 5, False, 5e-6),
    ],
    "se_preresnext26b_400": [
        ("prefit", "adam", 3_333, 24, 1, True, 1e-4),
        ("main", "radam", 5 * 22_500, 24, 1, False, 2.5e-5),
        ("main", "radam", 45_000, 12, 5, False, 2.5e-5),
        ("main", "radam", 45_000, 12, 5, False, 5e-6),
    ],
    "resnext50_400": [
        ("prefit", "adam", 5_000, 16, 1, True, 1e-4),
        ("main", "radam", 5 * 33_750, 16, 1, False, 2.5e-5),
        ("main", "radam", 67_500, 8, 5, False, 2.5e-5),
        ("main", "radam", 67_500, 8, 5, False, 5e-6),
    ],
    # Epochs 0 to 3 repeat 6,000 slices with masks 15 times: 630,000 / 32 batches.
    "resnet18_384_5_planes_bn_f8": [
        ("prefit", "radam", 3_125, 32, 1, True, 1e-4),
        ("main", "radam", 4 * 19_687 + 16_875, 32, 1, False, 5e-5),
        ("main", "radam", 33_750, 16, 5, False, 5e-5),
        ("main", "radam", 33_750, 16, 5, False, 1e-5),
    ],
    # One run of 8 slices per study and epoch: 15,624 / 4 batches.
    "dpn68_384_5_planes_combine_last": [
        ("prefit", "adam", 488, 4, 8, True, 2e-5),
        ("main", "radam", 33 * 3_906, 4, 8, False, 5e-5),
        ("main", "radam", 16 * 3_906, 4, 8, False, 1e-5),
        ("main", "radam", 16 * 3_906, 4, 8, False, 2e-6),
        ("main", "radam", 8 * 3_906, 4, 8, False, 4e-7),
    ],
}


@pytest.mark.parametrize("name", PLANES)
def test_planes_family_over_all_steps(name: str) -> None:
    assert _stretches(name) == [Stretch(*row) for row in PLANES[name]]


# batch, slices, frozen batches, flat batches, cosine batches, lowest rate, accumulate
CHANNELS = {
    "clf2Dc_resnet34_3c": (64, 3, 2_000, 8_000, 12_000, 1e-7, 1),
    "clf2Dc_resnet50_3c_384": (26, 3, 0, 8_000, 17_000, 1e-7, 1),
    "clf2Dc_resnet34_3x3": (24, 9, 8_000, 12_000, 18_000, 1e-6, 2),
    "clf2Dc_resnet50_7c_400": (24, 7, 0, 16_000, 32_000, 1e-7, 1),
    "clf2Dc_resnet34_3x3_2": (24, 9, 8_000, 12_000, 18_000, 1e-6, 2),
    "clf2Dc_resnet34_3x3_5_slices": (24, 5, 8_000, 12_000, 18_000, 1e-6, 2),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_channels_family_over_all_steps(name: str) -> None:
    batch, slices, frozen, flat, cosine, lowest, accumulate = CHANNELS[name]
    stretches = _stretches(name)
    assert {(s.phase, s.optimizer, s.batch, s.slices) for s in stretches} == {
        ("main", "radam", batch, slices)
    }
    # At 540,000 slices the schedule ends before 20 epochs do.
    assert sum(s.batches for s in stretches) == flat + cosine
    assert sum(s.batches for s in stretches if s.frozen) == frozen
    assert all(s.frozen for s in stretches[: frozen > 0])
    at_full_rate = [s for s in stretches if s.rate == 1e-4]
    assert sum(s.batches for s in at_full_rate) == pytest.approx(flat, rel=0.05)
    rates = [s.rate for s in stretches]
    assert rates == sorted(rates, reverse=True)
    (_, main), *_ = base_recipe(name).phases.in_order()
    middle = learning_rate(main, flat + cosine // 2, 0, flat + cosine)
    assert middle == pytest.approx((1e-4 + lowest) / 2)
    assert learning_rate(main, flat + cosine, 0, flat + cosine) == pytest.approx(lowest)
    assert (main.accumulate, main.weight_decay) == (accumulate, 0.001)


@pytest.mark.parametrize("name", REFERENCE)
def test_validations(name: str) -> None:
    recipe, spec = base_recipe(name), ZOO[name]
    main = recipe.phases.main
    assert main is not None
    units = plan_phase(main, STUDIES if recipe.run_slices else SLICES)
    ends = [unit.epoch_end for unit in units if unit.validates]
    if name.startswith("clf2Dc"):  # Four times per epoch, the best is kept.
        assert len([end for end in ends if end <= 1]) == 4
        assert recipe.keep == "best"
    elif spec.encoder == "dpn68b":  # Every second epoch, and at the end.
        assert ends == [*range(2, 73, 2), 73]
    else:
        assert ends == list(range(1, len(units) + 1))


CLIPS = {"resnet18_384_5_planes_bn_f8": (100, 16), "dpn68_384_5_planes_combine_last": (100, 32)}
LABELS = {
    "se_preresnext26b_400": ("folds_test_rev3", None),
    "resnext50_400": ("folds_test_rev3", None),
    "clf2Dc_resnet34_3c": ("folds", None),
    "clf2Dc_resnet50_3c_384": ("folds", None),
    "clf2Dc_resnet34_3x3": ("folds", None),
    "clf2Dc_resnet50_7c_400": ("folds_rev3", "folds"),
    "clf2Dc_resnet34_3x3_2": ("folds_test", None),
    "clf2Dc_resnet34_3x3_5_slices": ("folds_test", None),
}


@pytest.mark.parametrize("name", REFERENCE)
def test_the_other_numbers(name: str) -> None:
    recipe, spec = base_recipe(name), ZOO[name]
    phases = dict(recipe.phases.in_order())
    assert (spec.labels, spec.validation_labels) == LABELS.get(name, ("folds_rev3", None))
    dropout = {"resnext50_400", "dpn68_384_5_planes_combine_last", "clf2Dc_resnet34_3c"}
    assert recipe.dropout == (0.5 if name in dropout | {"clf2Dc_resnet50_3c_384"} else 0)
    if name.startswith("clf2Dc"):
        assert recipe.augmentation.model_dump(exclude={"shift", "flip_either"}) == {
            **{"flip_horizontal": 0.5, "flip_vertical": 0, "quarter_turns": 0, "affine": 0.9},
            **{"scale": 0.15, "rotate_deg": 30, "border": "air"},
        }
        assert recipe.augmentation.shift == (0.1 if "resnet50" in name else 0)
        assert recipe.input.random_crop == ("resnet34" in name)
        assert recipe.input.crop_px == (400 if "400" in name else 384)
        return
    clips = tuple(phase.gradient_clip for phase in phases.values())
    assert clips == CLIPS.get(name, (100, None))
    assert recipe.augmentation.model_dump(exclude={"affine"}) == {
        **{"flip_horizontal": 0, "flip_vertical": 0, "flip_either": 0.5, "quarter_turns": 0.5},
        **{"shift": 1 / 16, "scale": 0.05, "rotate_deg": 30, "border": "edge"},
    }
    assert recipe.input.crop_px == (384 if "384" in name else 400)
    accumulated = {
        **{"resnet34_400_5_planes_combine_last_var_dr0": 2, "airnet50_384": 2},
        **{"resnext50_400": 2, "dpn68_384_5_planes_combine_last": 8},
    }
    assert phases["main"].accumulate == accumulated.get(name, 1)
    assert recipe.precision is None, "chosen by the device"
