"""Averaging of thin slices in slabs."""

import numpy as np
import pytest

from rsna19_kedro.ct.slabs import average_slabs, slab_numbers, slices_per_slab


@pytest.mark.parametrize(
    ("distance_mm", "slab_mm", "expected"),
    [
        (0.6, 5.0, 8),
        (1.5, 5.0, 3),
        (2.5, 5.0, 1),
        (np.nan, 5.0, 1),
        (0.6, 0.0, 1),
    ],
)
def test_number_of_slices_per_slab(distance_mm, slab_mm, expected) -> None:
    assert slices_per_slab(distance_mm, slab_mm) == expected


@pytest.mark.parametrize("slices", range(1, 20))
def test_every_slice_has_a_slab_and_no_slab_is_small(slices: int) -> None:
    slabs = slab_numbers(slices, 4)
    assert set(np.diff(slabs)) <= {0, 1}
    sizes = np.bincount(slabs)
    assert slabs[0] == 0
    assert (sizes[:-1] == 4).all()
    assert sizes.min() >= min(2, slices)


def test_slabs_are_means() -> None:
    volume = np.arange(5, dtype=np.int16)[:, None, None] * np.ones((1, 2, 2), np.int16)
    slabs = average_slabs(volume, slab_numbers(5, 2))
    assert slabs[:, 0, 0].tolist() == [0, 2, 4]  # Halves are rounded to even.
    assert slabs.dtype == np.int16
    assert average_slabs(volume, slab_numbers(5, 1)) is volume
