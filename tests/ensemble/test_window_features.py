from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble.features import (
    feature_names,
    neighbours,
    slice_positions,
    window_features,
)
from rsna19_kedro.ensemble.level1 import FirstLevel
from rsna19_kedro.ensemble.settings import WindowOptions
from rsna19_kedro.errors import InputError


def test_neighbours_of_three_slices_by_hand():
    study, number = np.array([0, 0, 0]), np.array([0, 1, 2])
    assert neighbours(study, number, 1).tolist() == [[-1, 0, 1], [0, 1, 2], [1, 2, -1]]
    assert neighbours(study, number, 1, "edge").tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 2]]


def test_neighbours_are_found_by_number_in_any_order_of_rows():
    study = np.array([7, 3, 7, 3, 7])
    number = np.array([2, 0, 0, 1, 1])
    assert neighbours(study, number, 1).tolist() == [
        [4, 0, -1],
        [-1, 1, 3],
        [-1, 2, 4],
        [1, 3, -1],
        [2, 4, 0],
    ]


def test_gaps_are_padded():
    study, number = np.zeros(3, dtype=int), np.array([4, 5, 7])
    assert neighbours(study, number, 1).tolist() == [[-1, 0, 1], [0, 1, -1], [-1, 2, -1]]
    assert neighbours(study, number, 1, "edge").tolist() == [[0, 0, 1], [0, 1, 1], [1, 2, 2]]


def test_no_slices_give_no_features():
    empty = FirstLevel(("a",), np.empty((0, 1, 6), np.float32), np.empty(0, int), np.empty(0, int))
    assert window_features(empty, WindowOptions(radius=2)).shape == (0, 30)


def test_feature_names_match_the_columns():
    rng = np.random.default_rng(0)
    level = FirstLevel(
        ("a", "b"), rng.random((4, 2, 6), dtype=np.float32), np.zeros(4, int), np.arange(4)
    )
    options = WindowOptions(radius=2)
    features, names = window_features(level, options), feature_names(level.models, options)
    assert features.shape == (4, 60)
    assert features.dtype == np.float32
    assert len(set(names)) == 60
    for offset in range(-2, 3):
        for model in range(2):
            for index, name in enumerate(CLASSES):
                column = names.index(f"{'ab'[model]}|{name}|{f'{offset:+d}' if offset else '0'}")
                for row in range(4):
                    inside = 0 <= row + offset < 4
                    expected = level.predictions[row + offset, model, index] if inside else 0.0
                    assert features[row, column] == expected


@given(seed=st.integers(0, 10_000), radius=st.integers(0, 4), edge=st.booleans())
@settings(max_examples=40, deadline=None)
def test_neighbours_match_a_naive_implementation(seed, radius, edge):
    rng = np.random.default_rng(seed)
    study = np.repeat(np.arange(4), rng.integers(1, 7, 4))
    number = np.concatenate([np.arange((study == s).sum()) for s in range(4)])
    order = rng.permutation(len(study))
    study, number = study[order], number[order]
    rows = neighbours(study, number, radius, "edge" if edge else "zeros")
    row_of = {pair: row for row, pair in enumerate(zip(study, number, strict=True))}
    for row, pair in enumerate(zip(study, number, strict=True)):
        last = number[study == pair[0]].max()
        for index, offset in enumerate(range(-radius, radius + 1)):
            wanted = pair[1] + offset
            if edge:
                wanted = min(max(wanted, 0), last)
            assert rows[row, index] == row_of.get((pair[0], wanted), -1)


def two_studies(models=2, length=4):
    rng = np.random.default_rng(1)
    predictions = rng.random((2 * length, models, 6), dtype=np.float32)
    study, number = np.repeat([0, 1], length), np.tile(np.arange(length), 2)
    return FirstLevel(("a", "b")[:models], predictions, study, number)


def column(level, options, name):
    return window_features(level, options)[:, feature_names(level.models, options).index(name)]


def test_all_options_together_match_the_number_of_names():
    level = two_studies()
    level = replace(level, areas=np.random.default_rng(2).random((8, 7), dtype=np.float32))
    extra = {"position": True, "length": True, "agreement": True, "areas": True}
    options = WindowOptions(radius=1, mean_radius=9, beyond="edge", **extra)
    names = feature_names(level.models, options)
    assert len(names) == 3 * 2 * 6 + 19 * 6 + 6 + 7 + 2
    assert len(set(names)) == len(names)
    assert window_features(level, options).shape == (8, len(names))
    assert np.isfinite(window_features(level, options)).all()


def test_areas_are_decimal_logarithms_of_the_share():
    areas = np.zeros((8, 7), np.float32)
    areas[3, 4], areas[5, 6] = 0.01, 1.0
    level = replace(two_studies(), areas=areas)
    options = WindowOptions(radius=1, areas=True, position=True)
    subdural, any_class = (column(level, options, f"area_{name}") for name in ("subdural", "any"))
    assert subdural.round(4).tolist() == [-5, -5, -5, -2, -5, -5, -5, -5]
    assert any_class.round(4).tolist() == [-5, -5, -5, -5, -5, 0, -5, -5]
    assert column(level, options, "position").max() == 1
    assert (level.take(level.study == 1).areas == areas[4:]).all()
    assert level.ordered(("b", "a")).areas is areas


def test_areas_without_a_model_with_masks_are_an_error():
    with pytest.raises(InputError, match=r"no first-level table of a, b has them.*areas to false"):
        window_features(two_studies(), WindowOptions(areas=True))


def test_the_second_window_uses_the_mean_of_the_models():
    level = two_studies()
    options = WindowOptions(radius=0, mean_radius=2)
    mean = level.predictions.mean(axis=1)
    np.testing.assert_allclose(column(level, options, "mean|any|+2")[:2], mean[2:4, 5], rtol=1e-6)
    assert (column(level, options, "mean|any|+2")[2:4] == 0).all()
    np.testing.assert_array_equal(column(level, options, "b|any|0"), level.predictions[:, 1, 5])
    logit = options.model_copy(update={"scale": "logit"})
    logits = np.log(level.predictions / (1 - level.predictions)).mean(axis=1)
    np.testing.assert_allclose(column(level, logit, "mean|any|0"), logits[:, 5], atol=1e-4)
    assert len(feature_names(level.models, WindowOptions(radius=0))) == 12


def test_logits_match_the_probabilities_and_are_finite():
    level = two_studies()
    level.predictions[0] = 0.0
    level.predictions[1] = 1.0
    plain, logit = (WindowOptions(radius=1, scale=scale) for scale in ("probability", "logit"))
    probabilities, logits = window_features(level, plain), window_features(level, logit)
    clipped = np.clip(probabilities, 1e-4, 1 - 1e-4)
    np.testing.assert_allclose(logits, np.log(clipped / (1 - clipped)), rtol=1e-4, atol=1e-5)


def test_agreement_is_the_standard_deviation_between_the_models():
    level = two_studies()
    agreement = column(level, WindowOptions(radius=0, agreement=True), "agreement|subdural")
    np.testing.assert_allclose(agreement, np.std(level.predictions[:, :, 4], axis=1), rtol=1e-5)
    single = column(two_studies(1), WindowOptions(radius=0, agreement=True), "agreement|any")
    assert (single == 0).all()


def test_position_goes_from_feet_to_head_in_any_order_of_rows():
    position, length = slice_positions(np.array([5, 2, 5, 5, 2]), np.array([7, 3, 4, 5, 3]))
    np.testing.assert_allclose(position, [1, 0.5, 0, 1 / 3, 0.5], rtol=1e-6)
    assert length.tolist() == [3, 2, 3, 3, 2]
    level = two_studies()
    options = WindowOptions(radius=0, position=True, length=True)
    np.testing.assert_allclose(
        column(level, options, "position"), [0, 1 / 3, 2 / 3, 1] * 2, rtol=1e-6
    )
    assert (column(level, options, "length") == 4).all()
