import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from dicom_factory import write_slice, write_study
from prepared_studies import PARAMS, index_of, prepare, write_three_studies
from rsna19_kedro.ct.study_volume import checksum
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.studies import fingerprint, study_slices
from rsna19_kedro.dicom.volume_index import identical_slices
from rsna19_kedro.errors import InputError
from rsna19_kedro.pipelines.volume_prep.nodes import prepare_volumes
from rsna19_kedro.pipelines.volume_prep.parameters import VolumePrepParameters


def written(store: VolumeStore) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sorted(store.folder.iterdir())}


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_three_studies(tmp_path)


def test_manifest_has_one_row_per_study(raw: Path, tmp_path: Path) -> None:
    store, manifest, _ = prepare(raw)
    assert manifest["study_id"].tolist() == ["a", "b", "t"] == store.study_ids()
    assert manifest["slices"].tolist() == [4, 3, 3]
    np.testing.assert_allclose(manifest["tilt_deg"], [0, -24, 0], atol=1e-3)
    assert manifest["distances_uneven"].tolist() == [False, False, True]
    assert manifest["alignment"].tolist() == ["aligned"] * 3
    assert manifest["repaired_slices"].tolist() == [0, 0, 0]
    b = manifest.set_index("study_id").loc["b"]
    step_px = 5 * np.sin(np.deg2rad(24)) / 0.5
    np.testing.assert_allclose(b["row_shifts_px"], [step_px, 0, -step_px], atol=1e-4)
    assert b["slice_distance_mm"] == pytest.approx(5 * np.cos(np.deg2rad(24)), abs=1e-4)
    for study_id, expected in zip(manifest["study_id"], manifest["checksum"], strict=True):
        assert checksum(store.read(study_id)) == expected
    manifest.to_parquet(tmp_path / "manifest.parquet")
    loaded = pd.read_parquet(tmp_path / "manifest.parquet")
    assert list(loaded["repaired"].iloc[0]) == []
    assert len(loaded["slice_checksums"].iloc[0]) == 4


def test_a_second_run_prepares_nothing_again(raw: Path, caplog: pytest.LogCaptureFixture) -> None:
    store, first, _ = prepare(raw)
    before = written(store)
    with caplog.at_level(logging.INFO):
        store, second, _ = prepare(raw)
    assert written(store) == before
    assert "3 volumes: 0 prepared, 3 reused" in caplog.text
    pd.testing.assert_frame_equal(first, second)


def test_volumes_of_removed_studies_are_removed(
    raw: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, first, _ = prepare(raw)
    digest = store.digest()
    store.write("gone", np.zeros((2, 4, 4), np.int16), {})
    with caplog.at_level(logging.INFO):
        store, second, _ = prepare(raw)
    assert "Removed the volumes of 1 study that are not in use, such as gone" in caplog.text
    assert store.digest() == digest
    pd.testing.assert_frame_equal(first, second)


def test_only_changed_studies_are_prepared_again(raw: Path) -> None:
    store, first, _ = prepare(raw)
    before = written(store)
    write_slice(
        raw / "b_001.dcm", study="b", patient="b_patient", position=(-4, -4, 4), shape=(16, 16)
    )
    store, second, _ = prepare(raw)
    after = written(store)
    assert [name for name in before if before[name] != after[name]] == ["b.b2"]
    assert first["checksum"].tolist()[::2] == second["checksum"].tolist()[::2]


def test_another_crop_prepares_all_volumes_again(raw: Path) -> None:
    store, _, _ = prepare(raw)
    store, _, _ = prepare(raw, PARAMS.model_copy(update={"crop_size_px": 20}))
    assert {store.shape(study)[1:] for study in store.study_ids()} == {(20, 20)}


def test_damaged_volumes_are_replaced_and_unfinished_files_removed(raw: Path) -> None:
    store, first, _ = prepare(raw)
    store.path("a").write_bytes(b"half a file")
    (store.folder / ".part-xyz.b2").write_bytes(b"half a file")
    store, second, _ = prepare(raw)
    pd.testing.assert_frame_equal(first, second)
    assert sorted(path.name for path in store.folder.iterdir()) == ["a.b2", "b.b2", "t.b2"]
    assert store.read("a").shape == (4, 32, 32)


def test_a_study_removed_from_the_raw_data_leaves_the_manifest(raw: Path) -> None:
    prepare(raw)
    for path in raw.glob("a_*.dcm"):
        path.unlink()
    _, manifest, _ = prepare(raw)
    assert manifest["study_id"].tolist() == ["b", "t"]


def test_unreadable_studies_are_logged_and_left_out(
    raw: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in raw.glob("b_*.dcm"):
        path.write_bytes(path.read_bytes()[:-100])
    cut = raw / "a_002.dcm"
    cut.write_bytes(cut.read_bytes()[:-100])
    _, manifest, _ = prepare(raw)
    assert manifest["study_id"].tolist() == ["a", "t"]
    assert "Study b is left out: none of its slices can be read" in caplog.text
    assert manifest["repaired_slices"].tolist() == [1, 0]
    assert manifest["repaired"].iloc[0] == [2]
    assert "Study a: unreadable slices [2] are replaced by their nearest" in caplog.text


def test_no_study_at_all_is_an_error(raw: Path) -> None:
    for path in raw.glob("*.dcm"):
        path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="No study could be prepared"):
        prepare(raw)


def test_slices_must_be_numbered_without_gaps(raw: Path) -> None:
    index = index_of(raw)
    gap = index[~((index["study_id"] == "b") & (index["slice_num"] == 1))]
    with pytest.raises(InputError, match=r"study b .*found 2 where 1 is expected"):
        study_slices(gap)


def test_a_fingerprint_depends_on_files_geometry_and_crop(raw: Path) -> None:
    a = study_slices(index_of(raw))[0]
    same = fingerprint(raw, a, 32)
    assert same == fingerprint(raw, study_slices(index_of(raw))[0], 32)
    assert same != fingerprint(raw, a, 30)
    assert same != fingerprint(raw, a.assign(position_y=a["position_y"] + 1e-6), 32)
    os.utime(raw / a["path"].iloc[0], ns=(1, 1))
    assert same != fingerprint(raw, a, 32)


def test_two_processes_give_the_same_volumes(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, alone, _ = prepare(raw)
    monkeypatch.setattr("rsna19_kedro.dicom.studies._WORTH_PROCESSES", 1)
    two = PARAMS.model_copy(update={"workers": 2, "crop_size_px": 33})
    _, other, _ = prepare(raw, two)
    _, together, _ = prepare(raw, PARAMS.model_copy(update={"workers": 2}))
    assert (other["checksum"] != alone["checksum"]).all()
    pd.testing.assert_frame_equal(together, alone)


RUN = """
import sys
from pathlib import Path
import pandas as pd
from rsna19_kedro.pipelines.volume_prep import nodes
from rsna19_kedro.pipelines.volume_prep.parameters import VolumePrepParameters
raw, folder, index = map(Path, sys.argv[1:])
params = VolumePrepParameters(crop_size_px=32, workers=1)
_, table = nodes.prepare_volumes(pd.read_parquet(index), raw, folder, params)
table.to_parquet(folder.parent / "volume_index.parquet")
"""


@pytest.mark.slow
def test_a_killed_run_resumes_without_repeating_finished_studies(tmp_path: Path) -> None:
    raw, folder = tmp_path / "raw", tmp_path / "volumes"
    for number in range(60):
        write_study(raw, f"s{number:02d}", z_mm=(0, 5, 10), tilt_deg=-10)
    index = tmp_path / "index.parquet"
    index_of(raw).to_parquet(index)
    folder.mkdir()
    arguments = [sys.executable, "-c", RUN, str(raw), str(folder), str(index)]
    run = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(folder.glob("s*.b2"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    run.send_signal(signal.SIGKILL)
    run.wait()
    store = VolumeStore(folder)
    finished = {name: at for name, at in written(store).items() if not name.startswith(".")}
    assert 5 <= len(finished) < 60
    assert not (tmp_path / "volume_index.parquet").exists()
    for study_id in store.study_ids():
        assert store.read(study_id).shape == (3, 32, 32)
    _, manifest = prepare_volumes(pd.read_parquet(index), raw, folder, PARAMS)
    assert len(manifest) == 60
    after = written(store)
    assert {name: after[name] for name in finished} == finished
    uninterrupted = tmp_path / "again"
    uninterrupted.mkdir()
    _, expected = prepare_volumes(pd.read_parquet(index), raw, uninterrupted, PARAMS)
    pd.testing.assert_frame_equal(manifest, expected)


def test_identical_slices_of_other_patients_are_found(raw: Path) -> None:
    other = np.full((16, 16), 1100)
    position = (-4, -4, 0)
    write_slice(raw / "t_000.dcm", study="t", patient="t_patient", pixels=other, position=position)
    _, manifest, _ = prepare(raw)
    identical = identical_slices(manifest)
    assert identical["slice_checksum"].nunique() == 1
    assert len(identical) == 4 + 3 + 2
    pairs = list(zip(identical["study_id"], identical["slice_num"], strict=True))
    assert ("t", 0) not in pairs
    assert ("t", 1) in pairs


def test_a_misspelt_parameter_is_named() -> None:
    with pytest.raises(ValidationError, match="crop_size"):
        VolumePrepParameters(crop_size=400)  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="equalize"):
        VolumePrepParameters.model_validate({"hu_lut": {"kind": "equalize"}})
