"""Test-time augmentation (TTA): its effect on a slice, and reproducible random draws."""

import pytest
import torch

from rsna19_kedro.networks.input_size import InputSize
from rsna19_kedro.networks.network_input import network_input
from rsna19_kedro.networks.tta import VARIANTS
from rsna19_kedro.networks.tta_input import study_draws, study_inputs

LUT = torch.linspace(-1, 1, 1401)
SIDE = 40


def _corner() -> torch.Tensor:
    hu = torch.full((1, 4, 4), -400, dtype=torch.int16)
    hu[0, 0, 3] = 1000  # Top right.
    return hu


@pytest.mark.parametrize(
    ("name", "corner"),
    [
        ("normal", (0, 3)),
        ("flip_horizontal", (0, 0)),
        ("flip_vertical", (3, 3)),
        ("rot90", (0, 0)),
    ],
)
def test_flips_and_turns_move_a_corner(name: str, corner: tuple[int, int]) -> None:
    seen = study_inputs(_corner(), LUT, InputSize(crop_px=4), [name], "s")
    assert tuple(torch.nonzero(seen[0, 0] > 0)[0].tolist()) == corner


def _bar() -> torch.Tensor:
    """A bar along x, right of the centre."""
    hu = torch.full((2, SIDE, SIDE), -400, dtype=torch.int16)
    hu[:, 18:22, 22:36] = 1000
    return hu


def _angle_deg(image: torch.Tensor) -> float:
    """Direction of the bar from the image centre, counter-clockwise from +x."""
    weight = image - image.min()
    rows, cols = torch.meshgrid(
        *(torch.arange(n) - (n - 1) / 2 for n in image.shape), indexing="ij"
    )
    y, x = (weight * rows).sum(), (weight * cols).sum()
    return float(torch.rad2deg(torch.atan2(-y, x)))


@pytest.mark.parametrize(
    ("name", "angle_deg"),
    [
        ("rotate_plus15", 15),
        ("rotate_minus15", -15),
        ("rotate_plus15_flip", 180 - 15),
        ("rotate_minus15_flip", -(180 - 15)),
    ],
)
def test_rotations_turn_by_their_angle(name: str, angle_deg: float) -> None:
    # The flip comes first, as in training: the bar then points left before it is rotated.
    expected = {165: -165, -165: 165}.get(angle_deg, angle_deg)
    seen = study_inputs(_bar(), LUT, InputSize(crop_px=SIDE), [name], "s")
    assert _angle_deg(seen[0, 0]) == pytest.approx(expected, abs=1.5)


def test_random_crop_leaves_a_rotation_within_the_slice() -> None:
    size = InputSize(crop_px=36)
    draws = [study_draws(VARIANTS["rotate_plus15"], f"s{i}", size, SIDE) for i in range(200)]
    shifts = torch.cat([draw.shift for draw in draws]) * SIDE
    assert shifts.abs().max() <= 2
    assert shifts.std() > 0.5


def test_jitter_stays_in_its_ranges_and_is_drawn_once_per_study_and_augmentation() -> None:
    size = InputSize(crop_px=SIDE)
    names = ["random_1", "random_1_flip", "random_2", "random_2_flip"]
    draws = {
        (study, name): study_draws(VARIANTS[name], study, size, SIDE)
        for study in ("a", "b", "c")
        for name in names
    }
    angles = torch.cat([draw.angle_deg for draw in draws.values()])
    assert len(set(angles.tolist())) == len(draws)
    assert angles.abs().max() <= 15
    scales = torch.cat([draw.scale for draw in draws.values()])
    assert 0.95 <= scales.min() < scales.max() <= 1.05
    again = study_draws(VARIANTS["random_1"], "a", size, SIDE)
    assert torch.equal(again.shift, draws["a", "random_1"].shift)


def test_all_slices_of_a_study_are_changed_alike() -> None:
    seen = study_inputs(_bar(), LUT, InputSize(crop_px=SIDE), ["random_1"], "s")
    assert torch.equal(seen[0, 0], seen[0, 1])


def test_several_augmentations_together_equal_each_alone() -> None:
    size = InputSize(crop_px=32, resize_px=16)
    names = list(VARIANTS)
    together = study_inputs(_bar(), LUT, size, names, "s")
    assert together.shape == (len(names), 2, 16, 16)
    for name, seen in zip(names, together, strict=True):
        assert torch.equal(study_inputs(_bar(), LUT, size, [name], "s")[0], seen)
    assert torch.equal(together[0], network_input(_bar(), LUT, size))
