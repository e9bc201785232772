import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsna19_kedro.ct.lut import (
    LUT_SIZE,
    REFERENCE_KNOTS,
    head_mask,
    lut_equalising,
    lut_from_knots,
    lut_from_table,
    lut_to_table,
)
from rsna19_kedro.errors import InputError


def test_the_reference_curve_goes_through_its_knots() -> None:
    lut = lut_from_knots()
    assert lut.shape == (1401,)
    assert lut.dtype == np.float32
    for hu, value in REFERENCE_KNOTS:
        assert lut[hu + 400] == pytest.approx(value, abs=1e-6)
    # Half way between the knots 19 and 69 HU.
    assert lut[400 + 44] == pytest.approx((-0.522088 + 0.405986) / 2, abs=1e-6)
    assert (np.diff(lut) > 0).all()


@pytest.mark.parametrize(
    ("knots", "message"),
    [
        ([(-400, -1), (0, 0), (0, 0.5), (1000, 1)], "do not increase"),
        ([(-300, -1), (1000, 1)], "from -300 to 1000"),
        ([(-400, -1), (0, 1), (1000, -1.5)], "outside -1..1"),
        ([(-400, -1.5), (1000, 1)], "outside -1..1"),
        ([(-400, -1)], "at least two"),
    ],
)
def test_unusable_knots_are_refused(knots: list[tuple[float, float]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        lut_from_knots(knots)


def head_of(values: np.ndarray) -> np.ndarray:
    """Return a slice of air with a block of given HU, larger than the bright couch beneath it."""
    hu = np.full((values.shape[0] + 12, values.shape[1] + 8), -1000, dtype=np.int16)
    hu[4 : 4 + values.shape[0], 4 : 4 + values.shape[1]] = values
    hu[-3:, :] = 500
    return hu


def test_head_mask_excludes_the_couch_and_includes_holes() -> None:
    values = np.full((20, 20), 30)
    values[8:12, 8:12] = -900
    mask = head_mask(head_of(values))
    assert mask.sum() == 400
    assert mask[14, 14]
    assert not mask[-1].any()
    assert not head_mask(np.full((5, 5), -1000)).any()


def test_equal_counts_of_every_hu_give_a_straight_line() -> None:
    every_hu = np.arange(-399, 1001).repeat(2).reshape(40, 70)
    lut = lut_equalising([head_of(every_hu)])
    np.testing.assert_allclose(lut[1:], np.linspace(-1, 1, LUT_SIZE)[1:], atol=2e-3)
    assert (lut[0], lut[-1]) == (-1, 1)


def test_two_values_computed_by_hand() -> None:
    # A quarter of the voxels at 0 HU, three quarters at 100: the mid ranks are 0.125 and 0.625.
    values = np.full((20, 20), 100)
    values[:, :5] = 0
    lut = lut_equalising([head_of(values)])
    assert (lut[:400] == -1).all()
    assert lut[400] == pytest.approx(2 * 0.125 - 1)
    assert lut[450] == pytest.approx(2 * 0.25 - 1)
    assert lut[500] == pytest.approx(2 * 0.625 - 1)
    assert (lut[501:] == 1).all()


@given(st.integers(0, 2**32 - 1))
def test_a_fitted_table_rises_from_minus_one_to_one(seed: int) -> None:
    values = np.random.default_rng(seed).normal(40, 60, (24, 24)).astype(np.int16)
    lut = lut_equalising([head_of(values)])
    assert lut.dtype == np.float32
    assert (np.diff(lut) >= 0).all()
    assert (lut[0], lut[-1]) == (-1, 1)


def test_a_sample_without_a_head_is_refused() -> None:
    with pytest.raises(InputError, match="shows no head"):
        lut_equalising([np.full((8, 8), -1000, dtype=np.int16)])


def test_table_and_array_are_the_same() -> None:
    lut = lut_from_knots()
    table = lut_to_table(lut)
    assert table.dtypes.astype(str).to_dict() == {"hu": "int16", "value": "float32"}
    np.testing.assert_array_equal(lut_from_table(table), lut)
    for wrong in (table.iloc[1:], table.rename(columns={"hu": "HU"}), pd.DataFrame()):
        with pytest.raises(InputError, match="HU table"):
            lut_from_table(wrong)
