"""Given folds: matching of tables, and reporting of disagreements."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rsna19_kedro.cohort.given_folds import describe, read_given_folds
from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.errors import ParameterError, SourceError

LABELS = list(CLASSES)


@pytest.fixture
def slices() -> pd.DataFrame:
    """Create ten patients with one study of three slices each, and random labels."""
    rng = np.random.default_rng(0)
    rows = [
        {"sop_instance_uid": f"ID_{p}{n}", "study_id": f"ID_s{p}", "patient_id": f"ID_p{p}",
         "slice_num": n}
        for p in range(10) for n in range(3)
    ]  # fmt: skip
    types = rng.integers(0, 2, (len(rows), 5))
    labels = pd.DataFrame(np.column_stack([types, types.max(1)]), columns=LABELS, dtype="uint8")
    return pd.concat([pd.DataFrame(rows), labels], axis=1)


def _with_folds(slices: pd.DataFrame) -> pd.DataFrame:
    """Create the columns of the reference: labels as floats, a path, a fold."""
    order = ["any", *LABELS[:5]]
    table = slices[order].astype(float)
    numbers = slices["slice_num"].map("{:03d}".format)
    table["path"] = "rsna/train/" + slices["study_id"] + "/npy/" + numbers + ".npy"
    table["fold"] = slices["study_id"].str[-1].astype(int) % 5
    return table


def _read(path: Path, slices: pd.DataFrame, leaks: bool = False, **columns: str):
    return read_given_folds(path, slices, columns, accept_leaks=leaks)


def _expected(slices: pd.DataFrame) -> dict[str, int]:
    return {row.sop_instance_uid: int(row.study_id[-1]) % 5 for row in slices.itertuples()}


def test_reference_columns_are_matched_by_study_and_slice_number(tmp_path, slices) -> None:
    _with_folds(slices).to_csv(tmp_path / "5fold.csv", index=False)
    given = _read(tmp_path / "5fold.csv", slices)
    assert given.folds.to_dict() == _expected(slices)
    assert given.findings["files"] == {"5fold.csv": "path"}
    assert describe(given.findings) == ["Given folds: 5fold.csv"]


@pytest.mark.parametrize(
    ("columns", "key"),
    [
        ({"SOPInstanceUID": "{sop_instance_uid}"}, "sop_instance_uid"),
        ({"image": "{sop_instance_uid}.dcm"}, "sop_instance_uid"),
        ({"ID": "train/{sop_instance_uid}.png"}, "sop_instance_uid"),
        ({"StudyInstanceUID": "{study_id}"}, "study_id"),
        ({"PatientID": "{patient_id}"}, "patient_id"),
        # As in the reference's table by patient: the slice column contains the study.
        ({"SOPInstanceUID": "{study_id}", "PatientID": "{patient_id}"}, "patient_id"),
    ],
)
def test_other_keys_are_detected(tmp_path, slices, columns: dict[str, str], key: str) -> None:
    rows = slices.to_dict("records")
    filled = {name: [form.format(**row) for row in rows] for name, form in columns.items()}
    table = pd.DataFrame(filled)
    table["Fold"] = [int(row["study_id"][-1]) % 5 + 1 for row in rows]  # Counted from 1.
    table.to_csv(tmp_path / "folds.csv", index=False)
    given = _read(tmp_path / "folds.csv", slices)
    assert given.folds.to_dict() == _expected(slices)
    assert given.findings["files"] == {"folds.csv": key}


def test_columns_can_be_mapped(tmp_path, slices) -> None:
    table = pd.DataFrame({"x": slices["sop_instance_uid"], "cv": _with_folds(slices)["fold"]})
    table.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(SourceError, match=r"folds\.columns\.fold=COLUMN"):
        _read(tmp_path, slices)
    assert _read(tmp_path, slices, fold="cv", sop_instance_uid="x").folds.to_dict() == _expected(
        slices
    )
    with pytest.raises(ParameterError, match="has no column 'y', only x, cv"):
        _read(tmp_path, slices, fold="cv", sop_instance_uid="y")


def test_every_disagreement_is_reported(tmp_path, slices) -> None:
    table = _with_folds(slices).assign(SOPInstanceUID=slices["sop_instance_uid"])
    table.loc[4, "epidural"] = 1 - table.loc[4, "epidural"]
    unknown = table.iloc[[0]].assign(SOPInstanceUID="ID_elsewhere", path="rsna/train/x/npy/000.npy")
    pd.concat([table.drop(index=7), unknown]).to_csv(tmp_path / "5fold.csv", index=False)
    findings = _read(tmp_path, slices).findings
    assert findings["slices_without_file"] == {"count": 1, "examples": ["ID_elsewhere"]}
    assert findings["files_without_fold"] == {"count": 1, "examples": ["ID_21"]}
    assert findings["labels_differ"] == {"count": 1, "examples": ["ID_11"]}
    text = "\n".join(describe(findings))
    assert "1 slice of this data set without a fold" in text
    assert "1 slice with labels that differ" in text


def test_leaks_are_refused_unless_they_are_accepted(tmp_path, slices) -> None:
    table = _with_folds(slices)
    table.loc[3, "fold"] = 4  # A slice of patient 1, whose other slices are in fold 1.
    table.to_csv(tmp_path / "5fold.csv", index=False)
    with pytest.raises(ParameterError, match=r"1 patient in several folds, such as ID_p1: .*leaks"):
        _read(tmp_path, slices)
    findings = _read(tmp_path, slices, leaks=True).findings
    assert findings["patients_in_several_folds"] == {"count": 1, "examples": ["ID_p1"]}
    assert "accepted for comparison only" in "\n".join(describe(findings))


def test_files_of_a_folder_are_combined_and_revised_labels_are_used(tmp_path, slices) -> None:
    table = _with_folds(slices)
    table[:24].to_csv(tmp_path / "5fold.csv", index=False)
    table.to_csv(tmp_path / "5fold-test.csv", index=False)
    revised = table.assign(epidural=1 - table["epidural"])
    revised[:24].to_csv(tmp_path / "5fold-rev3.csv", index=False)
    pd.DataFrame({"note": ["not folds"]}).to_csv(tmp_path / "id_map.csv", index=False)
    given = _read(tmp_path, slices)
    assert given.folds.to_dict() == _expected(slices)
    assert len(given.revised) == 24
    labels = slices.set_index("sop_instance_uid").loc[given.revised["sop_instance_uid"], "epidural"]
    assert (given.revised["epidural"].to_numpy() == 1 - labels.to_numpy()).all()
    assert given.findings["labels_differ"]["count"] == 0, "revised labels may differ"


def test_contradicting_and_unknown_tables_are_refused(tmp_path, slices) -> None:
    table = _with_folds(slices)
    table.to_csv(tmp_path / "a.csv", index=False)
    table.assign(fold=(table["fold"] + 1) % 5).to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(ParameterError, match="several folds to 30 slices"):
        _read(tmp_path, slices)
    table.assign(fold=7).to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(ParameterError, match=r"folds 0 to 4 .* but found 7"):
        _read(tmp_path / "b.csv", slices)
    table.assign(path="elsewhere/1/2.npy").to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(ParameterError, match=r"contains no slice.*keys: path"):
        _read(tmp_path / "b.csv", slices)
    with pytest.raises(SourceError, match="neither a CSV nor a folder"):
        _read(tmp_path / "missing", slices)
