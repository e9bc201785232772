import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from dicom_factory import write_kaggle_csv, write_slice, write_study
from rsna19_kedro.cohort import ingestion
from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.errors import InputError
from rsna19_kedro.pipelines.ingestion.nodes import index_slices, read_labels, report_ingestion
from rsna19_kedro.pipelines.ingestion.parameters import IngestionParameters

PARAMS = IngestionParameters()


def ingest(raw: Path, params: IngestionParameters = PARAMS) -> tuple[pd.DataFrame, ...]:
    _, index = index_slices(raw, params)
    labels, findings = read_labels(raw, index, params)
    return index, labels, report_ingestion(raw, index, labels, findings, params)


@pytest.fixture
def today(tmp_path: Path) -> Path:
    """Two training studies and one to predict, in today's layout."""
    a = write_study(tmp_path / "stage_2_train", "a")
    b = write_study(tmp_path / "stage_2_train", "b", tilt_deg=-20, intercept=-1000)
    write_study(tmp_path / "stage_2_test", "c", z_mm=(0, 5))
    labels = dict.fromkeys([*a, *b], ()) | {"b_001": ("subdural",)}
    write_kaggle_csv(tmp_path / "stage_2_train.csv", labels)
    return tmp_path


def subsets(index: pd.DataFrame) -> dict[str, list[str]]:
    return {k: sorted(v["study_id"].unique()) for k, v in index.groupby("subset")}


def test_todays_layout(today: Path):
    index, labels, report = ingest(today)
    assert subsets(index) == {"train": ["a", "b"], "test2": ["c"]}
    assert index["path"].iloc[0] == "stage_2_train/a_000.dcm"
    assert index["problem"].isna().all()
    assert labels.set_index("sop_instance_uid").loc["b_001", list(CLASSES)].tolist() == [
        0, 0, 0, 0, 1, 1,
    ]  # fmt: skip
    assert "| train | 6 | 6 | 2 | 2 |" in report
    assert "| test2 | 2 | 2 | 1 | 1 |" in report
    assert "tilted studies (more than 0.5 degrees): **1**. `b`" in report


def test_slices_outside_the_stage_1_csv_become_test(today: Path):
    write_kaggle_csv(today / "stage_1_train.csv", dict.fromkeys(["a_000", "a_001", "a_002"], ()))
    index, labels, report = ingest(today)
    assert subsets(index) == {"train": ["a"], "test": ["b"], "test2": ["c"]}
    assert len(labels) == 6
    assert "stage_1_train.csv` says which slices are train" in report


def test_layout_of_2019(tmp_path: Path):
    a = write_study(tmp_path / "stage_1_train_images", "a")
    b = write_study(tmp_path / "stage_1_test_images", "b")
    write_study(tmp_path / "stage_2_test_images", "c")
    write_kaggle_csv(tmp_path / "stage_1_train.csv", dict.fromkeys(a, ()))
    write_kaggle_csv(tmp_path / "stage_2_train.csv", dict.fromkeys([*a, *b], ()))
    index, labels, _ = ingest(tmp_path)
    assert subsets(index) == {"train": ["a"], "test": ["b"], "test2": ["c"]}
    assert sorted(labels["sop_instance_uid"]) == sorted([*a, *b])


def test_own_data(tmp_path: Path):
    uids = write_study(tmp_path / "clinic" / "p1" / "ct", "a")
    write_slice(tmp_path / "clinic" / "p1" / "scout", uid="scout", study="a", patient="a_patient",
                change={"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]})  # fmt: skip
    write_study(tmp_path / "new", "b")
    frame = pd.DataFrame({"sop_instance_uid": uids, **dict.fromkeys(CLASSES, 0)})
    frame.to_csv(tmp_path / "truth.csv", index=False)
    own = {"train": ["clinic"], "test2": ["new"], "labels_csv": "truth.csv"}
    index, labels, report = ingest(tmp_path, IngestionParameters(own_data=own))
    assert subsets(index) == {"train": ["a"], "test2": ["b"]}
    assert labels["sop_instance_uid"].tolist() == uids
    assert "**a localizer**: 1 file. `clinic/p1/scout` a localizer" in report


# docs/data_quirks.md#labels-without-files
def test_labels_without_file_and_files_without_label(today: Path):
    labels = dict.fromkeys(["a_000", "a_001", "b_000", "ID_gone"], ())
    write_kaggle_csv(today / "stage_2_train.csv", labels)
    index, labelled, report = ingest(today)
    assert len(index) == 8
    assert len(labelled) == 4
    assert "slices with labels but without a file: **1**. `ID_gone`" in report
    assert "training slices without labels (not in the folds): **3**. `a_002`, `b_001`" in report


def test_the_report_lists_all_irregularities(today: Path):
    train = today / "stage_2_train"
    write_slice(train / "a_001.dcm", study="a", patient="a_patient", position=(-4, -4, 5),
                pixel_bytes=10)  # fmt: skip
    write_slice(train / "broken.dcm", study="a", drop=["PixelData"])
    (train / "notes.txt").write_text("not an image")
    write_study(train, "wide", patient="a_patient", shape=(20, 24), z_mm=(0, 2.4, 7.4, 7.4, 17.4))
    write_study(train, "wrapped", bits_stored=12, signed=False, intercept=0)
    write_study(train, "flat", drop=["ImageOrientationPatient"])
    uids = [path.stem for path in train.glob("*.dcm")]
    write_kaggle_csv(today / "stage_2_train.csv", dict.fromkeys(uids, ()))
    csv = today / "stage_2_train.csv"
    text = csv.read_text().replace("a_000_any,0", "a_000_any,1") + "a_002_any,0\n"
    csv.write_text(text)
    _, _, report = ingest(today)
    for line in (
        "**truncated pixel data**: 1 file (1 keeps its slice number)",
        "`stage_2_train/a_001.dcm` truncated pixel data: 10 of 512 bytes",
        "**no pixel data**: 1 file. `stage_2_train/broken.dcm` no pixel data",
        "**not DICOM**: 1 file. `stage_2_train/notes.txt` not DICOM",
        "slices with labels whose file is not usable: **1**. `broken`",
        "more than once, with equal values (extra rows dropped: 1): **1**. `a_002`",
        "the maximum of the five types (kept as it is): **1**. `a_000`",
        "studies that are not 512x512: **all 6**. 16x16: 5, 20x24: 1.\n",
        "overflowed 12 bits (volume_prep repairs the slices concerned): **1**. `wrapped`",
        "studies with uneven slice distances: **1**. `wide`",
        "(their order is taken from SOPInstanceUID): **1**. `wide_003`",
        "orientations (kept as a plain stack: not aligned): **1**. `flat`",
        "patients with several studies: **1**. `a_patient`",
        "studies that are not axial (kept as a plain stack: not aligned): 0\n",
        "transfer syntax: Explicit VR Little Endian: ",
    ):
        assert line in report, line


# docs/data_quirks.md#patients-with-several-studies
def test_the_report_counts_patients_of_train_and_test(tmp_path: Path):
    a = write_study(tmp_path / "stage_1_train", "a", patient="p")
    b = write_study(tmp_path / "stage_1_test", "b", patient="p")
    write_kaggle_csv(tmp_path / "stage_2_train.csv", dict.fromkeys([*a, *b], ()))
    _, _, report = ingest(tmp_path)
    assert "patients of test who are also in train: **1**. `p`" in report
    assert "patients of test2" not in report
    assert "The row `all` counts patients of several subsets once." in report


def test_long_lists_are_shortened(today: Path):
    gone = [f"gone_{i:02d}" for i in range(33)]
    write_kaggle_csv(today / "stage_2_train.csv", dict.fromkeys(["a_000", *gone], ()))
    _, _, report = ingest(today)
    assert "without a file: **33**. `gone_00`" in report
    assert "`gone_19` and 13 more" in report


def test_message_for_a_missing_csv_lists_the_expected_names(today: Path):
    (today / "stage_2_train.csv").unlink()
    with pytest.raises(InputError, match=r"no CSV with labels.*stage_2_train\.csv.*stage_1_train"):
        ingest(today)


def test_own_data_without_csv(tmp_path: Path):
    write_study(tmp_path / "clinic", "a")
    with pytest.raises(InputError, match="own_data: labels_csv"):
        ingest(tmp_path, IngestionParameters(own_data={"train": ["clinic"]}))


def test_labels_of_other_data(today: Path):
    write_kaggle_csv(today / "stage_2_train.csv", {"ID_x": ()})
    with pytest.raises(InputError, match=r"such as ID_x, but none of the 6 training files"):
        ingest(today)


def test_a_folder_without_a_usable_slice(tmp_path: Path):
    write_study(tmp_path / "stage_2_train", "a", change={"Modality": "MR"})
    with pytest.raises(InputError, match=r"no usable CT slice .*not CT: modality MR \(3\)"):
        index_slices(tmp_path, PARAMS)


def test_a_misspelt_parameter_is_named():
    with pytest.raises(ValidationError, match="wokers"):
        IngestionParameters(wokers=2)
    with pytest.raises(ValidationError, match="trian"):
        IngestionParameters(own_data={"trian": ["a"]})


def test_worker_processes_and_chunks_change_nothing(today: Path, monkeypatch, capfd):
    _, alone = index_slices(today, PARAMS)
    monkeypatch.setattr(ingestion, "_WORTH_PROCESSES", 0)
    _, shared = index_slices(today, IngestionParameters(workers=2, chunk_files=3))
    pd.testing.assert_frame_equal(alone, shared)
    # docs/data_quirks.md#invalid-uids, in the workers too
    assert "Invalid value" not in capfd.readouterr().err


def test_phantoms_are_recognised_by_their_marker_file(today: Path):
    assert index_slices(today, PARAMS)[0] == {"synthetic": False}
    (today / "phantoms.json").write_text("{}")
    assert index_slices(today, PARAMS)[0] == {"synthetic": True}
    own = IngestionParameters(own_data={"train": [str(today / "stage_2_train")]})
    (today / "elsewhere").mkdir()
    assert index_slices(today / "elsewhere", own)[0] == {"synthetic": True}
    # Training slices are real; phantoms that are only predicted do not matter.
    write_study(today / "clinic" / "ct", "d")
    own = IngestionParameters(own_data={"train": ["clinic/ct"], "test2": ["stage_2_test"]})
    assert index_slices(today, own)[0] == {"synthetic": False}


# docs/data_quirks.md#invalid-uids
def test_the_log_is_short(today: Path, caplog):
    with caplog.at_level(logging.DEBUG, logger="rsna19_kedro"):
        ingest(today)
    assert len(caplog.records) <= 3


def test_tables_survive_parquet(today: Path, tmp_path: Path):
    index, labels, _ = ingest(today)
    for table in (index, labels):
        table.to_parquet(tmp_path / "table.parquet")
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "table.parquet"), table)


@pytest.mark.real_data
def test_the_real_sample(rsna_sample: Path):
    index, labels, report = ingest(rsna_sample)
    assert index["subset"].value_counts().to_dict() == {"train": 344, "test2": 93}
    assert index["study_id"].nunique() == 13
    assert index["problem"].isna().all()
    assert len(labels) == 344
    tilt = index.groupby("study_id")["tilt_deg"].first()
    assert tilt["ID_b026766696"] == pytest.approx(-24, abs=1e-3)
    assert (tilt.min(), tilt.max()) == pytest.approx((-24, 6), abs=1e-3)
    assert "studies with uneven slice distances: **1**. `ID_8908a52209`" in report
    gaps = index.loc[index["study_id"] == "ID_8908a52209", "position_mm"].diff()
    assert gaps.max() == pytest.approx(10, abs=0.01)
    for _, study in index.groupby("study_id"):
        assert study["slice_num"].tolist() == list(range(len(study)))
        assert (np.diff(study["position_z"]) > 0).all()
