import numpy as np
import pandas as pd
import pytest

from first_level_factory import simulate
from rsna19_kedro.contracts import AREAS, CLASSES, KEYS, PREDICTIONS
from rsna19_kedro.ensemble.collect import combine_oof, combine_test
from rsna19_kedro.ensemble.level1 import (
    AUGMENTATIONS,
    FirstLevel,
    model_names,
    prediction_columns,
)
from rsna19_kedro.errors import InputError


@pytest.fixture
def simulation():
    return simulate(patients=5, length=4)


def test_augmentations_are_averaged_by_key_in_any_order(simulation):
    wide = combine_oof(simulation.folds, list(simulation.oof.values()))
    assert model_names(wide) == ("one", "two")
    assert list(wide.columns) == [
        *KEYS,
        "patient_id",
        "fold",
        *CLASSES,
        *prediction_columns(("one", "two")),
    ]
    assert wide.equals(wide.sort_values(["study_id", "slice_num"], ignore_index=True))
    row = wide.iloc[7]
    source = simulation.oof["two", row["fold"]]
    mine = source[source["sop_instance_uid"] == row["sop_instance_uid"]]
    expected = mine[list(PREDICTIONS)].to_numpy(float).mean(axis=0)
    np.testing.assert_allclose(row[prediction_columns(["two"])].astype(float), expected, rtol=1e-6)
    assert wide[prediction_columns(["one"])].dtypes.eq(np.float32).all()


def with_areas(tables, model):
    """Tables of both models, with mask areas for one of them."""
    rng = np.random.default_rng(5)
    return [
        table.assign(**dict(zip(AREAS, rng.random((7, len(table)), dtype=np.float32), strict=True)))
        if name == model
        else table
        for (name, _), table in tables.items()
    ]


def test_areas_of_a_model_with_masks_are_averaged_over_augmentations_and_folds(simulation):
    for combine, slices, tables, share in (
        (combine_oof, simulation.folds, simulation.oof, 1),
        (combine_test, simulation.test_slices, simulation.test, 5),
    ):
        given = with_areas(tables, "two")
        wide = combine(slices, given)
        assert list(wide.columns[-7:]) == list(AREAS)
        uid = wide["sop_instance_uid"].iloc[2]
        expected = pd.concat(given)
        expected = expected[(expected["sop_instance_uid"] == uid) & (expected["model"] == "two")]
        assert len(expected) == 2 * share
        level = FirstLevel.from_table(wide)
        np.testing.assert_allclose(level.areas[2], expected[list(AREAS)].mean(), rtol=1e-6)
        assert model_names(wide) == ("one", "two")


def test_invalid_areas_are_refused_and_missing_areas_are_detected(simulation):
    given = with_areas(simulation.oof, "two")
    masked = next(index for index, table in enumerate(given) if AREAS[0] in table)
    broken = [*given]
    broken[masked] = given[masked].assign(**{AREAS[3]: np.float32(np.nan)})
    with pytest.raises(InputError, match=r"two, fold 0.*NaN or values outside"):
        combine_oof(simulation.folds, broken)
    # One table of an older version without areas: the areas of the model are ignored.
    broken[masked] = given[masked].drop(columns=list(AREAS))
    assert FirstLevel.from_table(combine_oof(simulation.folds, broken)).areas is None


def test_shuffled_rows_give_the_same_table(simulation):
    tables = list(simulation.oof.values())
    shuffled = [table.sample(frac=1, random_state=9) for table in tables]
    first = combine_oof(simulation.folds, tables)
    second = combine_oof(simulation.folds.sample(frac=1, random_state=3), shuffled)
    pd.testing.assert_frame_equal(first, second)


def test_test_tables_are_averaged_over_folds(simulation):
    wide = combine_test(simulation.test_slices, list(simulation.test.values()))
    uid = wide["sop_instance_uid"].iloc[3]
    rows = pd.concat([t for (m, _), t in simulation.test.items() if m == "one"])
    mine = rows[rows["sop_instance_uid"] == uid]
    assert len(mine) == 10
    np.testing.assert_allclose(
        wide.loc[3, prediction_columns(["one"])].astype(float),
        mine[list(PREDICTIONS)].to_numpy(float).mean(axis=0),
        rtol=1e-6,
    )


def test_no_test_slices_give_an_empty_table(simulation):
    wide = combine_test(simulation.test_slices.iloc[:0], [])
    assert wide.empty
    assert list(wide.columns) == list(KEYS)


def _drop_slice(table):
    return table[table["sop_instance_uid"] != table["sop_instance_uid"].iloc[0]]


def _drop_row(table):
    return table.iloc[1:]


def _twice(table):
    return pd.concat([table, table.iloc[:1]])


def _nan(table):
    return table.assign(pred_any=table["pred_any"].mask(table.index == 0))


def _above(table):
    return table.assign(pred_epidural=np.where(table.index == 0, 1.01, 0.5))


def _foreign(table):
    return table.assign(sop_instance_uid=table["sop_instance_uid"].mask(table.index == 0, "ID_new"))


def _moved(table):
    return table.assign(slice_num=table["slice_num"] + 1)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop_slice, "no prediction"),
        (_drop_row, "fewer than 2 test-time augmentations"),
        (_twice, "a repeated slice and tta"),
        (_nan, "NaN or values outside"),
        (_above, "NaN or values outside"),
        (_foreign, "unexpected slices.*ID_new"),
        (_moved, "a study_id or slice_num that differs"),
    ],
)
def test_damaged_tables_are_reported_with_model_and_fold(simulation, damage, message):
    key = ("two", 3)
    damaged = damage(simulation.oof[key])
    tables = [damaged if k == key else table for k, table in simulation.oof.items()]
    with pytest.raises(InputError, match="model two, fold 3") as caught:
        combine_oof(simulation.folds, tables)
    assert pd.Series([str(caught.value)]).str.contains(message, regex=True).all()
    assert "sop_instance_uid ID_" in str(caught.value)
    damaged_test = damage(simulation.test[key])
    tables = [damaged_test if k == key else table for k, table in simulation.test.items()]
    with pytest.raises(InputError, match="model two, fold 3"):
        combine_test(simulation.test_slices, tables)


def test_folds_with_other_augmentations_are_refused(simulation):
    wide = combine_oof(simulation.folds, list(simulation.oof.values()))
    names = list(simulation.oof["two", 3]["tta"].unique())
    assert wide.attrs[AUGMENTATIONS] == {"one": names, "two": names}
    kept = {key: table[table["tta"] == names[0]] for key, table in simulation.oof.items()}
    tables = [kept[k] if k == ("two", 3) else table for k, table in simulation.oof.items()]
    with pytest.raises(InputError, match=rf"model two: fold 0 .*{', '.join(names)}, fold 3 with"):
        combine_oof(simulation.folds, tables)
    wide = combine_oof(simulation.folds, list(kept.values()))
    assert wide.attrs[AUGMENTATIONS] == {"one": names[:1], "two": names[:1]}


def test_a_missing_fold_is_reported(simulation):
    tables = [t for key, t in simulation.oof.items() if key != ("one", 4)]
    with pytest.raises(InputError, match=r"model one has .* missing \[4\]"):
        combine_oof(simulation.folds, tables)
    tables = [t for key, t in simulation.test.items() if key[1] != 2]
    with pytest.raises(InputError, match=r"model one has .* missing \[2\]"):
        combine_test(simulation.test_slices, tables)


def test_a_fold_given_twice_or_unnamed_is_refused(simulation):
    tables = list(simulation.oof.values())
    with pytest.raises(InputError, match="model one, fold 0 was given twice"):
        combine_oof(simulation.folds, [*tables, tables[0]])
    with pytest.raises(InputError, match=r"table 1 of 10 .*lacks the columns \['model'\]"):
        combine_oof(simulation.folds, [tables[0].drop(columns="model"), *tables[1:]])
    with pytest.raises(InputError, match="table 10 of 10"):
        combine_oof(simulation.folds, [*tables[:-1], tables[-1].iloc[:0]])
    with pytest.raises(InputError, match="no first-level table"):
        combine_oof(simulation.folds, [])


def test_duplicate_slices_in_folds_are_refused(simulation):
    folds = pd.concat([simulation.folds, simulation.folds.iloc[:1]])
    with pytest.raises(InputError, match="holds 1 duplicate slice,"):
        combine_oof(folds, list(simulation.oof.values()))


def test_a_single_model_is_accepted_with_a_warning(simulation, caplog):
    tables = [t for (model, _), t in simulation.oof.items() if model == "one"]
    wide = combine_oof(simulation.folds, tables)
    assert model_names(wide) == ("one",)
    assert "a single model, one" in caplog.text


def test_axes_of_predictions_are_model_and_class(simulation):
    wide = combine_oof(simulation.folds, list(simulation.oof.values()))
    level = FirstLevel.from_table(wide)
    assert level.predictions.shape == (len(wide), 2, 6)
    np.testing.assert_array_equal(level.predictions[:, 1, 4], wide["two|subdural"])
    reordered = level.ordered(("two", "one"))
    np.testing.assert_array_equal(reordered.predictions[:, 0], level.predictions[:, 1])
    with pytest.raises(InputError, match=r"other models: three is missing\."):
        level.ordered(("one", "three"))
