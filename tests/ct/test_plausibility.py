"""HU of a head pass; values that are certainly something else are refused."""

import numpy as np
import pytest

from rsna19_kedro.ct.plausibility import check_head, check_hu
from rsna19_kedro.errors import SourceError

SPACING = (1.0, 1.0)


def _body(rows_mm: float, cols_mm: float, *, bone: bool = True, slices: int = 4) -> np.ndarray:
    """Return a simulated ellipse of tissue in air, with a ring of bone."""
    y, x = np.mgrid[-200:200, -200:200]
    radius = np.sqrt((2 * y / rows_mm) ** 2 + (2 * x / cols_mm) ** 2)
    hu = np.where(radius < 1, 35, -1000)
    if bone:
        hu[(radius > 0.9) & (radius < 1)] = 900
    return np.repeat(hu[None], slices, 0).astype(np.int32)


@pytest.mark.parametrize(
    "hu",
    [
        _body(180, 150),
        _body(90, 75),  # A newborn.
        _body(200, 160, slices=1),
        np.where(np.indices((4, 400, 400))[2] < 230, _body(180, 150), -1000),  # Half is open.
        np.where(_body(180, 150) == -1000, -3024, _body(180, 150)) + 0,  # Padding, no air.
        _body(180, 150) + np.random.default_rng(1).normal(0, 40, (4, 400, 400)).astype(int),
    ],
    ids=["adult", "newborn", "one slice", "craniectomy", "padding", "noise"],
)
def test_heads_pass(hu: np.ndarray) -> None:
    check_hu(hu)
    assert check_head(hu, SPACING) == []


@pytest.mark.parametrize(
    ("hu", "message"),
    [
        (_body(180, 150) + 1024, "from 24.* to 1924.*, which are not HU: air is about -1000"),
        (_body(180, 150) // 2, "most of the air is at -500"),
        (np.where(_body(180, 150) < 0, 64536, 35), "many are above 4000"),
        (np.clip(_body(180, 150), 0, 80), "air is about -1000"),
        (np.zeros((3, 40, 40), int), "from 0.* to 0.*, which are not HU"),
    ],
    ids=["offset", "density", "wrapped", "windowed", "constant"],
)
def test_values_that_are_not_hu_are_refused(hu: np.ndarray, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        check_hu(hu)


def test_one_implausible_slice_is_accepted() -> None:
    hu = _body(180, 150, slices=5)
    hu[2] = 30000
    check_hu(hu)


@pytest.mark.parametrize(
    ("hu", "message"),
    [
        (np.full((3, 100, 100), -1000), "hardly anything but air"),
        (_body(200, 200, bone=False), "no bone"),  # A water phantom.
        (_body(250, 350), "as large as a trunk's"),
    ],
)
def test_volumes_that_are_not_heads_are_refused(hu: np.ndarray, message: str) -> None:
    check_hu(hu)
    with pytest.raises(SourceError, match=message):
        check_head(hu, SPACING)


def test_size_is_checked_only_if_the_spacing_is_known() -> None:
    hu = _body(250, 350)
    assert check_head(hu, (np.nan, np.nan)) == []
    assert "only" in check_head(_body(180, 150), (0.2, 0.2))[0]
