import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rsna19_kedro.cohort.folds import assign_folds, balance, patient_counts
from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.errors import InputError
from rsna19_kedro.pipelines.folds import nodes
from rsna19_kedro.pipelines.folds.nodes import list_test_slices, summarise_studies
from rsna19_kedro.pipelines.folds.parameters import FoldsParameters

PARAMS = FoldsParameters(seed=2019)
LABELS = list(CLASSES)
NO_LABELS = pd.DataFrame()


def split_patients(*arguments) -> tuple[pd.DataFrame, pd.DataFrame]:
    tables = nodes.split_patients(*arguments)
    return tables.folds, tables.folds_test


def with_mask_labels(folds: pd.DataFrame, masks: pd.DataFrame) -> pd.DataFrame:
    return nodes.with_mask_labels(folds, masks, NO_LABELS)


def cohort(studies: list[tuple[str, str, int]], seed: int = 0) -> tuple[pd.DataFrame, ...]:
    """Slice index, labels and volume index of studies given as (patient, subset, slices)."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "sop_instance_uid": f"s{s}_{i}", "study_id": f"s{s}", "patient_id": patient,
            "slice_num": i, "subset": subset,
        }
        for s, (patient, subset, slices) in enumerate(studies) for i in range(slices)
    ]  # fmt: skip
    index = pd.DataFrame(rows).astype({"slice_num": "Int64"})
    types = (rng.random((len(index), 5)) < [0.02, 0.2, 0.1, 0.2, 0.3]).astype("uint8")
    labels = index.loc[index["subset"] != "test2", ["sop_instance_uid"]].copy()
    labels[LABELS] = np.column_stack([types, types.max(axis=1)])[labels.index]
    sizes = index.groupby("study_id").size().rename("slices").reset_index()
    return index, labels, sizes


def simple(patients: int = 10) -> tuple[pd.DataFrame, ...]:
    return cohort([(f"p{i}", "train", 5 + i % 3) for i in range(patients)])


subset = st.sampled_from(["train", "train", "test", "test2"])
studies = st.lists(st.tuples(st.integers(0, 14), subset, st.integers(1, 6)), max_size=40)


@settings(deadline=None, max_examples=15)
@given(extra=studies, seed=st.integers(0, 2**31), shuffle=st.integers(0, 2**31))
def test_patients_are_whole_and_folds_test_extends_folds(extra, seed, shuffle):
    known = [(f"p{i}", "train", 3) for i in range(5)]
    tables = cohort([*known, *((f"p{p}", name, n) for p, name, n in extra)], seed=seed)
    params = FoldsParameters(seed=seed)
    folds, folds_test = split_patients(*tables, params)
    for table in (folds, folds_test):
        assert table.groupby("patient_id")["fold"].nunique().max() == 1
        assert not table["sop_instance_uid"].duplicated().any()
        assert set(table["fold"]) <= set(range(5))
    assert set(folds["fold"]) == set(range(5))
    merged = folds.merge(folds_test, on="sop_instance_uid", suffixes=("", "_test"))
    assert len(merged) == len(folds)
    assert (merged["fold"] == merged["fold_test"]).all()
    mixed = [table.sample(frac=1, random_state=shuffle) for table in tables]
    for table, again in zip((folds, folds_test), split_patients(*mixed, params), strict=True):
        pd.testing.assert_frame_equal(table, again)


def test_folds_hold_the_labelled_training_slices_of_prepared_volumes():
    index, labels, volumes = cohort(
        [(f"p{i}", "train", 4) for i in range(6)] + [("t", "test", 3), ("u", "test2", 2)]
    )
    index.loc[index["sop_instance_uid"] == "s1_3", "slice_num"] = pd.NA  # not usable
    volumes.loc[volumes["study_id"] == "s1", "slices"] = 3
    labels = labels[labels["sop_instance_uid"] != "s2_0"]
    volumes = volumes[volumes["study_id"] != "s5"]
    folds, folds_test = split_patients(index, labels, volumes, PARAMS)
    removed = {"s1_3", "s2_0", *(f"s5_{i}" for i in range(4))}
    expected = {
        uid for uid in index["sop_instance_uid"] if uid[:2] in ("s0", "s1", "s2", "s3", "s4")
    }
    assert set(folds["sop_instance_uid"]) == expected - removed
    assert set(folds_test["sop_instance_uid"]) == (expected - removed) | {"s6_0", "s6_1", "s6_2"}
    assert folds.columns.tolist() == [
        "sop_instance_uid", "study_id", "slice_num", "patient_id", "fold", *CLASSES,
    ]  # fmt: skip
    merged = folds.merge(labels, on="sop_instance_uid", suffixes=("", "_want"))
    for name in CLASSES:
        assert (merged[name] == merged[f"{name}_want"]).all()


def test_without_test_slices_both_tables_are_equal():  # today's layout
    folds, folds_test = split_patients(*simple(), PARAMS)
    pd.testing.assert_frame_equal(folds, folds_test)


# docs/data_quirks.md#patients-with-several-studies
def test_a_patient_of_train_and_test_keeps_the_fold():
    studies = [(f"p{i}", "train", 4) for i in range(7)] + [("p3", "test", 9), ("new", "test", 9)]
    folds, folds_test = split_patients(*cohort(studies), PARAMS)
    fold = folds.loc[folds["patient_id"] == "p3", "fold"].iloc[0]
    assert set(folds_test.loc[folds_test["patient_id"] == "p3", "fold"]) == {fold}
    assert folds_test.loc[folds_test["patient_id"] == "new", "fold"].nunique() == 1


# docs/data_quirks.md#patients-with-several-studies
def test_several_studies_of_a_patient_share_a_fold():
    studies = [("many", "train", 6)] * 15 + [(f"p{i}", "train", 6) for i in range(40)]
    folds, _ = split_patients(*cohort(studies), PARAMS)
    fold = folds.loc[folds["patient_id"] == "many", "fold"].unique()
    assert len(fold) == 1
    # 90 of 330 slices are more than a fifth, so the fold gets no other patient.
    assert balance(folds).loc[fold[0], ["patients", "studies", "slices"]].tolist() == [1, 15, 90]


def test_equal_patients_with_rare_classes_are_distributed_evenly():
    # One epidural and one subdural patient per fold is possible and therefore required.
    counts = pd.DataFrame(0, index=[f"p{i}" for i in range(15)], columns=["slices", *CLASSES])
    counts["slices"] = 30
    counts.loc[[f"p{i}" for i in range(5)], ["epidural", "any"]] = 3
    counts.loc[[f"p{i}" for i in range(5, 10)], ["subdural", "any"]] = 8
    fold = assign_folds(counts, seed=1)
    by_fold = counts.groupby(fold).sum()
    assert by_fold["slices"].tolist() == [90] * 5
    assert by_fold["epidural"].tolist() == [3] * 5
    assert by_fold["subdural"].tolist() == [8] * 5


def test_folds_of_many_patients_are_balanced_in_every_class():
    rng = np.random.default_rng(0)
    index = [f"p{i:04d}" for i in range(2000)]
    counts = pd.DataFrame({"slices": rng.integers(20, 80, 2000)}, index=index)
    for name, share in zip(CLASSES, (0.015, 0.15, 0.1, 0.15, 0.2, 0.35), strict=True):
        counts[name] = np.where(rng.random(2000) < share, rng.integers(1, 20, 2000), 0)
    sums = counts.groupby(assign_folds(counts, seed=0)).sum()
    assert ((sums / sums.mean() - 1).abs().max() < 0.01).all()


def test_another_seed_gives_another_split():
    counts = patient_counts(simple(30)[0].assign(**dict.fromkeys(CLASSES, 0)))
    assert not assign_folds(counts, 0).equals(assign_folds(counts, 1))
    assert assign_folds(counts, 0).equals(assign_folds(counts, 0))


def test_patient_counts_by_hand():
    slices = pd.DataFrame(0, index=range(3), columns=LABELS).assign(patient_id=["b", "a", "b"])
    slices.loc[[0, 2], ["epidural", "any"]] = 1
    counts = patient_counts(slices)
    assert counts.index.tolist() == ["a", "b"]
    assert counts["slices"].tolist() == [1, 2]
    assert counts["epidural"].tolist() == [0, 2]


@pytest.mark.parametrize("patients", [1, 4])
def test_fewer_patients_than_folds(patients: int):
    with pytest.raises(InputError, match=rf"{patients} patients? .* 5 folds \(p0"):
        split_patients(*simple(patients), PARAMS)


def test_no_labelled_slices():
    index, labels, volumes = simple()
    with pytest.raises(InputError, match="0 patients"):
        split_patients(index, labels.iloc[:0], volumes, PARAMS)


def test_a_class_that_never_occurs_is_a_warning(caplog):
    index, labels, volumes = simple()
    labels["epidural"] = np.uint8(0)
    with caplog.at_level(logging.WARNING):
        folds, _ = split_patients(index, labels, volumes, PARAMS)
    assert len(folds) == len(labels)
    assert "No training slice is positive for epidural" in caplog.text


def test_volumes_older_than_the_index():
    index, labels, volumes = simple()
    volumes.loc[0, "slices"] += 1
    with pytest.raises(InputError, match=r"study s0 has 6 slices in its volume and 5 in slice_ind"):
        split_patients(index, labels, volumes, PARAMS)


def masks(rows: dict[str, tuple[list[int], bool]]) -> pd.DataFrame:
    table = pd.DataFrame({"sop_instance_uid": pd.Series(list(rows), dtype="str")})
    values = np.array([labels for labels, _ in rows.values()], dtype="uint8").reshape(-1, 6)
    table[LABELS] = values
    return table.assign(unclassified=np.array([flag for _, flag in rows.values()], dtype=bool))


def test_masks_replace_labels_unless_blood_is_unclassified():
    folds, _ = split_patients(*simple(), PARAMS)
    before = folds.set_index("sop_instance_uid")
    new = [1, 0, 1, 0, 0, 1]
    table = masks({"s3_1": (new, False), "s3_2": (new, True), "elsewhere": (new, False)})
    after = with_mask_labels(folds, table).set_index("sop_instance_uid")
    assert after.loc["s3_1", LABELS].tolist() == new
    rest = before.index.drop("s3_1")
    pd.testing.assert_frame_equal(after.loc[rest], before.loc[rest])
    pd.testing.assert_series_equal(after["fold"], before["fold"])
    assert (after.dtypes == before.dtypes).all()


def test_without_masks_rev3_equals_the_plain_table():
    folds, _ = split_patients(*simple(), PARAMS)
    pd.testing.assert_frame_equal(with_mask_labels(folds, masks({})), folds)


def test_study_folds_hold_the_maximum_of_each_label():
    folds, _ = split_patients(*simple(), PARAMS)
    table = summarise_studies(folds).set_index("study_id")
    assert len(table) == 10
    for study, slices in folds.groupby("study_id"):
        assert table.loc[study, LABELS].tolist() == slices[LABELS].max().tolist()
        assert table.loc[study, "slices"] == len(slices)
        assert table.loc[study, "fold"] == slices["fold"].iloc[0]
        assert table.loc[study, "patient_id"] == slices["patient_id"].iloc[0]


def test_test_slices_are_those_of_test2():
    index, _, volumes = cohort([("p", "train", 3), ("q", "test", 3), ("r", "test2", 4)])
    table = list_test_slices(index, volumes)
    assert table.columns.tolist() == ["sop_instance_uid", "study_id", "patient_id", "slice_num"]
    assert table["sop_instance_uid"].tolist() == [f"s2_{i}" for i in range(4)]
    assert table["slice_num"].tolist() == [0, 1, 2, 3]


def test_nothing_to_predict_is_a_warning(caplog):
    index, _, volumes = simple()
    assert list_test_slices(index, volumes).empty
    assert "no slices to predict" in caplog.text


def test_five_folds_are_fixed():
    with pytest.raises(ValidationError, match="n_folds"):
        FoldsParameters(n_folds=4)


def test_given_folds_are_taken_over_and_revised_labels_with_them(tmp_path):
    index, labels, volumes = cohort(
        [(f"p{i}", "train", 4) for i in range(10)] + [("p3", "test", 3), ("p10", "test", 2)]
    )
    known = index.merge(labels, on="sop_instance_uid")
    table = (
        known[LABELS]
        .astype(float)
        .assign(
            path="rsna/"
            + known["study_id"]
            + "/npy/"
            + known["slice_num"].map("{:03d}".format)
            + ".npy",
            fold=known["patient_id"].str[1:].astype(int) % 5,
        )
    )
    table[known["subset"] == "train"].to_csv(tmp_path / "5fold.csv", index=False)
    table.to_csv(tmp_path / "5fold-test.csv", index=False)
    table.assign(subdural=1.0, any=1.0).to_csv(tmp_path / "5fold-test-rev3.csv", index=False)
    params = FoldsParameters(given=tmp_path)
    tables = nodes.split_patients(index, labels, volumes, params)
    assert len(tables.folds) == 40
    assert len(tables.folds_test) == 45
    patient = tables.folds_test["patient_id"].str[1:].astype(int)
    assert (tables.folds_test["fold"] == patient % 5).all()
    assert tables.notes == ["Given folds: 5fold-test-rev3.csv, 5fold-test.csv, 5fold.csv"]
    masks = pd.DataFrame({"sop_instance_uid": ["s0_0"], **dict.fromkeys(LABELS, 0)})
    revised = nodes.with_mask_labels(
        tables.folds, masks.assign(unclassified=0), tables.revised_labels
    )
    assert revised["subdural"].eq(1).all(), "given labels, not those of masks"
    assert nodes.split_patients(index, labels, volumes, PARAMS).notes == [
        "Folds are split by patient and balanced, in slices and in every class, as far as whole "
        "patients allow."
    ]


def test_accepted_leaks_count_as_one_patient_per_fold(tmp_path):
    index, labels, volumes = simple()
    uids = index["sop_instance_uid"]
    table = pd.DataFrame(
        {"SOPInstanceUID": uids, "fold": index["study_id"].str[1:].astype(int) % 5}
    )
    table.loc[0, "fold"] = 3
    table.to_csv(tmp_path / "folds.csv", index=False)
    params = FoldsParameters(given=tmp_path / "folds.csv")
    with pytest.raises(InputError, match="accept_leaks"):
        nodes.split_patients(index, labels, volumes, params)
    accepted = params.model_copy(update={"accept_leaks": True})
    folds = nodes.split_patients(index, labels, volumes, accepted).folds
    assert folds.groupby("patient_id")["fold"].nunique().max() == 1
    assert {"p0@0", "p0@3", "p1"} <= set(folds["patient_id"])
