import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble.features import feature_names, neighbours, window_features
from rsna19_kedro.ensemble.level1 import FirstLevel


def test_three_slices_worked_by_hand():
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


def test_a_gap_is_no_neighbour():
    study, number = np.zeros(3, dtype=int), np.array([4, 5, 7])
    assert neighbours(study, number, 1).tolist() == [[-1, 0, 1], [0, 1, -1], [-1, 2, -1]]
    assert neighbours(study, number, 1, "edge").tolist() == [[0, 0, 1], [0, 1, 1], [1, 2, 2]]


def test_no_slices_give_no_features():
    nothing = FirstLevel(
        ("a",), np.empty((0, 1, 6), np.float32), np.empty(0, int), np.empty(0, int)
    )
    assert window_features(nothing, 2).shape == (0, 30)


def test_every_feature_is_where_its_name_says():
    rng = np.random.default_rng(0)
    level = FirstLevel(
        ("a", "b"), rng.random((4, 2, 6), dtype=np.float32), np.zeros(4, int), np.arange(4)
    )
    features = window_features(level, 2)
    names = feature_names(level.models, 2)
    assert features.shape == (4, 60)
    assert features.dtype == np.float32
    assert len(set(names)) == 60
    for offset in range(-2, 3):
        for model in range(2):
            for place, name in enumerate(CLASSES):
                column = names.index(f"{'ab'[model]}|{name}|{f'{offset:+d}' if offset else '0'}")
                for row in range(4):
                    inside = 0 <= row + offset < 4
                    expected = level.predictions[row + offset, model, place] if inside else 0.0
                    assert features[row, column] == expected


@given(seed=st.integers(0, 10_000), radius=st.integers(0, 4), edge=st.booleans())
@settings(max_examples=40, deadline=None)
def test_as_the_plain_definition_says(seed, radius, edge):
    rng = np.random.default_rng(seed)
    study = np.repeat(np.arange(4), rng.integers(1, 7, 4))
    number = np.concatenate([np.arange((study == s).sum()) for s in range(4)])
    order = rng.permutation(len(study))
    study, number = study[order], number[order]
    found = neighbours(study, number, radius, "edge" if edge else "zeros")
    row_of = {pair: row for row, pair in enumerate(zip(study, number, strict=True))}
    for row, pair in enumerate(zip(study, number, strict=True)):
        last = number[study == pair[0]].max()
        for place, offset in enumerate(range(-radius, radius + 1)):
            wanted = pair[1] + offset
            if edge:
                wanted = min(max(wanted, 0), last)
            assert found[row, place] == row_of.get((pair[0], wanted), -1)
