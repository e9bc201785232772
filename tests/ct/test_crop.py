import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from rsna19_kedro.contracts import PADDING_HU
from rsna19_kedro.ct.alignment import aligned_grid, place_slice
from rsna19_kedro.ct.crop import centre_of_mass, crop_corner, crop_head


def block(top: int, left: int, height: int, width: int) -> np.ndarray:
    hu = np.full((30, 40), -1000, dtype=np.int16)
    hu[top : top + height, left : left + width] = 40
    return hu


def test_one_centre_for_all_slices_weighted_by_their_pixels() -> None:
    # 5 x 5 pixels around (4, 6) and 5 x 15 around (14, 26): weights 1/4 and 3/4.
    slices = [block(2, 4, 5, 5), block(12, 19, 5, 15)]
    grid = aligned_grid(np.zeros((2, 2)), [(30, 40)] * 2)
    assert centre_of_mass(slices, grid) == (12, 21)  # 11.5 is rounded up.


def test_zero_hu_and_below_are_ignored() -> None:
    hu = block(10, 10, 3, 3)
    hu[20:, 30:] = 0
    assert centre_of_mass([hu], aligned_grid([(0, 0)], [(30, 40)])) == (11, 11)


def test_without_anything_above_zero_the_middle_is_used() -> None:
    air = np.full((30, 40), -1000, dtype=np.int16)
    assert centre_of_mass([air, None], aligned_grid(np.zeros((2, 2)), [(30, 40)] * 2)) == (15, 20)


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-5, 5)), min_size=1, max_size=5))
def test_it_is_the_centre_of_mass_of_the_aligned_volume(shifts: list[tuple[int, int]]) -> None:
    slices = [block(5 + k, 8 + 2 * k, 6 + k, 9) for k in range(len(shifts))]
    grid = aligned_grid(shifts, [(30, 40)] * len(shifts))
    volume = np.full((len(shifts), grid.rows, grid.cols), PADDING_HU, dtype=np.int16)
    for hu, placement, window in zip(slices, grid.placements, volume, strict=True):
        place_slice(hu, placement, window, (0, 0))
    expected = ndimage.center_of_mass(volume > 0)[1:]
    centre = centre_of_mass(slices, grid)
    assert np.abs(np.array(centre) - expected).max() <= 0.5 + 1e-9


def test_corner_of_an_even_crop_is_half_its_side_before_the_centre() -> None:
    assert crop_corner((256, 100), 400) == (56, -100)


def test_crop_is_around_the_centre_of_mass() -> None:
    hu = np.full((1, 20, 20), -1000, np.int16)
    hu[0, 15:19, 1:5] = 40
    cropped, centre = crop_head(hu, 8)
    rows, cols = np.nonzero(cropped[0] == 40)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (2, 5, 2, 5)
    assert centre == (17, 3)
