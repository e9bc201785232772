from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dicom_factory import write_kaggle_csv
from rsna19_kedro.cohort.labels import read_label_csv, read_label_uids
from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.errors import InputError


def rows(path: Path) -> pd.DataFrame:
    return pd.read_csv(path)


def append(path: Path, *lines: str) -> Path:
    path.write_text(path.read_text() + "".join(f"{line}\n" for line in lines))
    return path


@pytest.fixture
def labels_csv(tmp_path: Path) -> Path:
    return write_kaggle_csv(
        tmp_path / "stage_2_train.csv", {"ID_a": [], "ID_b": ["epidural", "subdural"]}
    )


def test_kaggle_form(labels_csv: Path):
    labels, findings = read_label_csv(labels_csv)
    assert labels.columns.tolist() == ["sop_instance_uid", *CLASSES]
    assert labels["sop_instance_uid"].tolist() == ["ID_a", "ID_b"]
    assert labels[list(CLASSES)].to_numpy().tolist() == [[0] * 6, [1, 0, 0, 0, 1, 1]]
    assert set(labels[list(CLASSES)].dtypes) == {np.dtype("uint8")}
    assert (findings.file, findings.rows) == ("stage_2_train.csv", 12)
    assert findings.equal_duplicates == 0
    assert read_label_uids(labels_csv) == {"ID_a", "ID_b"}


def test_one_row_per_slice(tmp_path: Path):
    path = tmp_path / "labels.csv"
    columns = ["subdural", "sop_instance_uid", *[c for c in CLASSES if c != "subdural"]]
    frame = pd.DataFrame([[1, "1.2.3", 0, 0, 0, 0, 1], [1, "1.2.3", 0, 0, 0, 0, 1]])
    frame.set_axis(columns, axis=1).to_csv(path, index=False)
    labels, findings = read_label_csv(path)
    assert labels["sop_instance_uid"].tolist() == ["1.2.3"]
    assert labels[list(CLASSES)].to_numpy().tolist() == [[0, 0, 0, 0, 1, 1]]
    assert (findings.rows, findings.equal_duplicates) == (2, 1)


# docs/data_quirks.md#duplicate-labels
def test_equal_duplicates_are_dropped_and_counted(labels_csv: Path):
    append(labels_csv, *(f"ID_a_{name},0" for name in CLASSES))
    labels, findings = read_label_csv(labels_csv)
    assert len(labels) == 2
    assert findings.equal_duplicates == 6
    assert findings.duplicated_slices == ["ID_a"]


# docs/data_quirks.md#duplicate-labels
def test_conflicting_duplicates_are_refused(labels_csv: Path):
    append(labels_csv, "ID_a_subdural,1", "ID_b_any,0")
    with pytest.raises(InputError, match=r"stage_2_train\.csv: 2 .*ID_a_subdural, ID_b_any"):
        read_label_csv(labels_csv)


# docs/data_quirks.md#inconsistent-label-of-any-haemorrhage
def test_any_that_is_not_the_maximum_is_reported_and_unchanged(labels_csv: Path):
    text = labels_csv.read_text().replace("ID_b_any,1", "ID_b_any,0")
    labels_csv.write_text(text.replace("ID_a_any,0", "ID_a_any,1"))
    labels, findings = read_label_csv(labels_csv)
    assert findings.any_mismatch == ["ID_a", "ID_b"]
    assert labels["any"].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["ID,Prob", "ID_a_any,0"], "has the columns ID, Prob; expected ID and Label"),
        (["ID,Label"], "has no rows"),
        (["ID,Label", "ID_a_chronic,0"], "do not end with a known class: 'ID_a_chronic'"),
        (["ID,Label", "ID_a,0"], "do not end with a known class"),
        (["ID,Label", "ID_a_any,0"], "5 labels are missing: ID_a_epidural"),
        (["ID,Label", *(f"ID_a_{c},0.5" for c in CLASSES)], "6 labels are not 0 or 1"),
        (["ID,Label", *(f"ID_a_{c}," for c in CLASSES)], "ID_a_epidural: None"),
        (["ID,Label", *(f"ID_a_{c},yes" for c in CLASSES)], "ID_a_epidural: yes"),
        (["ID,Label", "ID_a_any,0,1"], "cannot be read as a CSV"),
        ([], "cannot be read as a CSV"),
    ],
)
def test_invalid_files_are_refused(tmp_path: Path, lines: list[str], message: str):
    path = tmp_path / "bad.csv"
    path.write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(InputError, match="bad") as error:
        read_label_csv(path)
    assert message in str(error.value)


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(labels_csv: Path):
    text = labels_csv.read_text().replace("\n", "\r\n")
    labels_csv.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert len(read_label_csv(labels_csv)[0]) == 2


@pytest.mark.parametrize("uid", ["012345", "1.20"])
def test_uids_that_look_like_numbers_stay_text(tmp_path: Path, uid: str):
    path = tmp_path / "labels.csv"
    frame = pd.DataFrame([[uid, 0, 0, 0, 0, 0, 0]], columns=["sop_instance_uid", *CLASSES])
    frame.to_csv(path, index=False)
    assert read_label_csv(path)[0]["sop_instance_uid"].tolist() == [uid]


@settings(deadline=None, max_examples=50)
@given(
    matrix=arrays(np.uint8, st.tuples(st.integers(1, 12), st.just(6)), elements=st.integers(0, 1)),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_row_order_and_any_duplicates_give_the_same_labels(tmp_path_factory, matrix, seed):
    uids = [f"ID_{i:03d}" for i in range(len(matrix))]
    frame = pd.DataFrame(
        {
            "ID": [f"{uid}_{name}" for uid in uids for name in CLASSES],
            "Label": matrix.ravel(),
        }
    )
    extra = frame.sample(frac=0.3, random_state=seed)
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    pd.concat([frame, extra]).sample(frac=1, random_state=seed).to_csv(path, index=False)
    labels, findings = read_label_csv(path)
    sorted_labels = labels.sort_values("sop_instance_uid")
    assert sorted_labels["sop_instance_uid"].tolist() == uids
    np.testing.assert_array_equal(sorted_labels[list(CLASSES)], matrix)
    assert findings.equal_duplicates == len(extra)
    wrong = matrix[:, :5].max(axis=1) != matrix[:, 5]
    assert sorted(findings.any_mismatch) == [uids[i] for i in np.flatnonzero(wrong)]
