import numpy as np
import pandas as pd
import pytest

from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.errors import InputError
from rsna19_kedro.evaluation.histogram_baseline import (
    HU_EDGES,
    hu_histograms,
    nested_histogram_predictions,
    slice_histograms,
)


@pytest.fixture
def store(tmp_path):
    store = VolumeStore(tmp_path)
    for number, study in enumerate(("a", "b")):
        volume = np.full((3, 8, 8), -1000, dtype=np.int16)
        volume[:, 0, :4] = 30
        volume[1, 1, :3] = 60 + number
        volume[2, 2, 0] = 3071
        store.write(study, volume, {})
    return store


def test_histogram_by_hand(store):
    counts = np.expm1(hu_histograms(store, "a"))
    assert counts.shape == (3, len(HU_EDGES) - 1)
    at = {hu: int(np.searchsorted(HU_EDGES, hu, side="right")) - 1 for hu in (30, 60, 3071)}
    expected = np.zeros(counts.shape)
    expected[:, at[30]] = 4
    expected[1, at[60]] = 3
    expected[2, at[3071]] = 1
    np.testing.assert_allclose(counts, expected, atol=1e-9)


def test_counts_match_numpy(store):
    rng = np.random.default_rng(0)
    volume = rng.integers(-2000, 4000, (2, 32, 32)).astype(np.int16)
    store.write("c", volume, {})
    counts = np.expm1(hu_histograms(store, "c"))
    for number in range(2):
        kept = volume[number][volume[number] < HU_EDGES[-1]]
        np.testing.assert_allclose(counts[number], np.histogram(kept, HU_EDGES)[0], atol=1e-9)


def test_rows_are_in_the_order_of_the_slices(store):
    slices = pd.DataFrame({"study_id": ["b", "a", "b"], "slice_num": [1, 1, 0]}, index=[5, 3, 9])
    features = slice_histograms(store, slices, workers=1)
    np.testing.assert_array_equal(features[0], hu_histograms(store, "b")[1])
    np.testing.assert_array_equal(features[1], hu_histograms(store, "a")[1])
    np.testing.assert_array_equal(features[2], hu_histograms(store, "b")[0])
    with pytest.raises(InputError, match="Study a has slice_num 3 in folds"):
        slice_histograms(store, pd.DataFrame({"study_id": ["a"], "slice_num": [3]}), workers=1)


def test_each_fold_is_predicted_without_its_labels():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((300, 4))
    folds = np.arange(300) % 5
    labels = (features[:, :1] + 0.1 * rng.standard_normal((300, 6)) > 0).astype(np.uint8)
    labels[:, 4] = 0
    before = nested_histogram_predictions(features, labels, folds)
    assert ((before[:, 0] > 0.5) == labels[:, 0]).mean() > 0.9
    np.testing.assert_allclose(before[:, 4], 1 / 242)
    flipped = labels.copy()
    flipped[folds == 3] = 1 - flipped[folds == 3]
    after = nested_histogram_predictions(features, flipped, folds)
    np.testing.assert_array_equal(after[folds == 3], before[folds == 3])
    assert not np.allclose(after[folds == 1], before[folds == 1])
