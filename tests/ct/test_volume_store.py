import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.errors import InputError


@pytest.fixture
def ramp() -> np.ndarray:
    return np.arange(7 * 6 * 5, dtype=np.int16).reshape(7, 6, 5)


@given(
    volume=hnp.arrays(np.int16, hnp.array_shapes(min_dims=3, max_dims=3, max_side=9)),
    study_id=st.text(min_size=1, max_size=20).filter(lambda text: max(text) < "\ud7ff"),
)
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_volume_under_any_name_is_read_back(
    tmp_path: Path, volume: np.ndarray, study_id: str
) -> None:
    store = VolumeStore(tmp_path)
    store.write(study_id, volume, {"tilt_deg": 1.5, "files": ["a", "b"]})
    np.testing.assert_array_equal(store.read(study_id), volume)
    assert store.shape(study_id) == volume.shape
    assert store.meta(study_id) == {"tilt_deg": 1.5, "files": ["a", "b"]}
    assert study_id in store
    assert study_id in store.study_ids()


def test_a_range_of_slices_is_read(tmp_path: Path, ramp: np.ndarray) -> None:
    store = VolumeStore(tmp_path)
    store.write("study", ramp, {})
    np.testing.assert_array_equal(store.read("study", 2, 5), ramp[2:5])
    np.testing.assert_array_equal(store.read("study", 5), ramp[5:])
    assert store.read("study", 3, 3).shape == (0, 6, 5)
    for start, stop in ((-1, 2), (0, 8), (4, 3)):
        with pytest.raises(IndexError, match=r"slices 0\.\.6"):
            store.read("study", start, stop)


def test_ids_that_look_like_paths_stay_in_the_folder(tmp_path: Path, ramp: np.ndarray) -> None:
    store = VolumeStore(tmp_path / "volumes")
    ids = ["1.2.826.0.1", "../evil", ".part-1", "a/b", "..", "ID_4fef99f0df"]
    for study_id in ids:
        store.write(study_id, ramp, {})
    assert store.study_ids() == sorted(ids)
    assert [path.name for path in tmp_path.iterdir()] == ["volumes"]


def test_writing_again_replaces_and_leaves_nothing_behind(tmp_path: Path, ramp: np.ndarray) -> None:
    store = VolumeStore(tmp_path)
    store.write("study", ramp, {"run": 1})
    store.write("study", ramp[:2] + np.int16(1), {"run": 2})
    np.testing.assert_array_equal(store.read("study"), ramp[:2] + 1)
    assert store.meta("study") == {"run": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["study.b2"]


def test_a_failed_write_keeps_the_old_volume(tmp_path: Path, ramp: np.ndarray) -> None:
    store = VolumeStore(tmp_path)
    store.write("study", ramp, {})
    with pytest.raises(TypeError):
        store.write("study", ramp + np.int16(1), {"not json": object()})
    np.testing.assert_array_equal(store.read("study"), ramp)
    assert [path.name for path in tmp_path.iterdir()] == ["study.b2"]


def test_other_types_and_shapes_are_refused(tmp_path: Path, ramp: np.ndarray) -> None:
    store = VolumeStore(tmp_path)
    for volume in (ramp.astype(np.float32), ramp[0], ramp[:0]):
        with pytest.raises(ValueError, match="int16"):
            store.write("study", volume, {})


def test_missing_study_is_named_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"study ID_1 .*volume_prep"):
        VolumeStore(tmp_path).read("ID_1")
    assert VolumeStore(tmp_path / "nowhere").study_ids() == []


@pytest.mark.parametrize("kept", [0, 40, 0.5, 0.98])
def test_damaged_file_is_named_with_a_remedy(tmp_path: Path, ramp: np.ndarray, kept: float) -> None:
    store = VolumeStore(tmp_path)
    store.write("ID_1", ramp, {})
    content = store.path("ID_1").read_bytes()
    end = int(kept if kept >= 1 else kept * len(content))
    store.path("ID_1").write_bytes(content[:end])
    with pytest.raises(InputError, match=r"study ID_1 .*damaged.*volume_prep"):
        store.read("ID_1")


def test_a_pickled_store_reads_the_same(tmp_path: Path, ramp: np.ndarray) -> None:
    store = VolumeStore(tmp_path)
    store.write("study", ramp, {})
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(store)).read("study"), ramp)


def test_read_into_equals_read_and_refuses_other_sizes(tmp_path) -> None:
    store = VolumeStore(tmp_path)
    volume = np.arange(5 * 4 * 6, dtype=np.int16).reshape(5, 4, 6)
    store.write("s", volume, {})
    out = np.empty((3, 4, 6), np.int16)
    store.read_into("s", 1, out)
    assert np.array_equal(out, volume[1:4])
    with pytest.raises(IndexError, match=r"0\.\.4, not 3\.\.5"):
        store.read_into("s", 3, out)
    with pytest.raises(ValueError, match="48 bytes"):
        store.read_into("s", 0, np.empty((1, 4, 4), np.int16))
    with pytest.raises(InputError, match="not in"):
        store.read_into("t", 0, out)
    store.path("s").write_bytes(b"damaged")
    with pytest.raises(InputError, match="damaged"):
        store.read_into("s", 0, out)
