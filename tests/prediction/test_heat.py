"""Heatmaps: class activation maps enlarged to the prepared slice."""

import numpy as np
import pytest

from rsna19_kedro.prediction.heat import HEAT_PX, heat_of, smooth_resize


def test_heatmap_covers_the_whole_slice() -> None:
    evidence = np.full((1, 6, 4, 4), -1, np.float32)
    evidence[0, 2, 0, 0] = 3
    heat = heat_of(evidence, share=0.8)
    assert heat.shape == (1, 6, HEAT_PX, HEAT_PX)
    assert heat[0, [0, 1, 3, 4, 5]].max() == 0
    row, col = np.unravel_index(heat[0, 2].argmax(), (HEAT_PX, HEAT_PX))
    assert 10 <= row < 30
    assert 10 <= col < 30
    assert heat[0, 2].max() == pytest.approx(1)


def test_heatmaps_are_relative_to_the_maximum_of_their_class() -> None:
    evidence = np.zeros((2, 6, 8, 8), np.float32)
    evidence[0, 1, 2:6, 2:6], evidence[1, 1, 2:6, 2:6] = 1, 0.25
    evidence[1, 4, 3, 3] = 0.01
    heat = heat_of(evidence, share=1.0)
    assert heat.max(axis=(0, 2, 3))[[1, 4]] == pytest.approx([1, 1])
    assert heat[1, 1].max() == pytest.approx(0.25)


def test_enlarging_keeps_position_mean_and_range() -> None:
    rng = np.random.default_rng(0)
    maps = np.pad(rng.random((3, 10, 6)), ((0, 0), (3, 3), (3, 3))).astype(np.float32)
    large = smooth_resize(maps, 96)
    assert large.shape == (3, 96, 96)
    assert large.min() >= -1e-6
    assert large.max() <= maps.max()
    assert large.mean() == pytest.approx(maps.mean(), rel=1e-3)
    # The centre of mass is at the same share of the side.
    for axis in (1, 2):
        before, after = (
            np.average((np.arange(m.shape[axis]) + 0.5) / m.shape[axis], weights=_along(m, axis))
            for m in (maps, large)
        )
        assert after == pytest.approx(before, abs=1e-3)


def _along(maps: np.ndarray, axis: int) -> np.ndarray:
    return maps.sum(axis=tuple(other for other in range(3) if other != axis))


def test_the_widest_part_of_a_bright_region_is_highest() -> None:
    mask = np.zeros((1, 12, 12), np.float32)
    mask[0, 2:10, 5], mask[0, 6:9, 4:7] = 0.9, 0.9
    mask[0, 2, 5] = 0.91  # Slightly brighter, at the thin end.
    row, col = np.unravel_index(smooth_resize(mask, 120)[0].argmax(), (120, 120))
    assert (row // 10, col // 10) == (7, 5)


def test_the_brightest_corner_is_highest_at_its_centre() -> None:
    maps = np.array([[[0.1, 0.2], [0.3, 1.0]]], np.float32)
    row, col = np.unravel_index(smooth_resize(maps, 100)[0].argmax(), (100, 100))
    assert 60 < row < 80
    assert 60 < col < 80
