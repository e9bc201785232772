import numpy as np
import pandas as pd
import pytest

from first_level_factory import simulate
from rsna19_kedro.contracts import AREAS, CLASSES, KEYS, PREDICTIONS
from rsna19_kedro.ensemble.level1 import (
    FirstLevel,
    combine_oof,
    combine_test,
    model_names,
    prediction_columns,
)
from rsna19_kedro.errors import InputError


@pytest.fixture
def simulation():
    return simulate(patients=5, length=4)


def test_variants_are_averaged_by_keys_whatever_the_order(simulation):
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
    """Tables of both models, one of which predicts masks."""
    rng = np.random.default_rng(5)
    return [
        table.assign(**dict(zip(AREAS, rng.random((7, len(table)), dtype=np.float32), strict=True)))
        if name == model
        else table
        for (name, _), table in tables.items()
    ]


def test_areas_of_the_model_that_has_them_are_averaged_over_variants_and_folds(simulation):
    for combine, slices, tables, share in (
        (combine_oof, simulation.folds, simulation.oof, 1),
        (combine_test, simulation.test_slices, simulation.test, 5),
    ):
        given = with_areas(tables, "two")
        wide = combine(slices, given)
        assert list(wide.columns[-7:]) == list(AREAS)
        uid = wide["sop_instance_uid"].iloc[2]
        mine = pd.concat(given)
        mine = mine[(mine["sop_instance_uid"] == uid) & (mine["model"] == "two")]
        assert len(mine) == 2 * share
        found = FirstLevel.from_table(wide)
        np.testing.assert_allclose(found.areas[2], mine[list(AREAS)].mean(), rtol=1e-6)
        assert model_names(wide) == ("one", "two")


def test_areas_outside_their_range_and_folds_without_are_seen(simulation):
    given = with_areas(simulation.oof, "two")
    masked = next(place for place, table in enumerate(given) if AREAS[0] in table)
    broken = [*given]
    broken[masked] = given[masked].assign(**{AREAS[3]: np.float32(np.nan)})
    with pytest.raises(InputError, match=r"two, fold 0.*NaN or values outside"):
        combine_oof(simulation.folds, broken)
    # A table of an older version has none: then the model has none.
    broken[masked] = given[masked].drop(columns=list(AREAS))
    assert FirstLevel.from_table(combine_oof(simulation.folds, broken)).areas is None


def test_shuffled_rows_give_the_same_table(simulation):
    tables = list(simulation.oof.values())
    shuffled = [table.sample(frac=1, random_state=9) for table in tables]
    one = combine_oof(simulation.folds, tables)
    other = combine_oof(simulation.folds.sample(frac=1, random_state=3), shuffled)
    pd.testing.assert_frame_equal(one, other)


def test_test_tables_are_averaged_over_folds(simulation):
    wide = combine_test(simulation.test_slices, list(simulation.test.values()))
    uid = wide["sop_instance_uid"].iloc[3]
    everything = pd.concat([t for (m, _), t in simulation.test.items() if m == "one"])
    mine = everything[everything["sop_instance_uid"] == uid]
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
        (_drop_row, "fewer than its 2 test-time variants"),
        (_twice, "a slice and tta twice"),
        (_nan, "NaN or values outside"),
        (_above, "NaN or values outside"),
        (_foreign, "do not belong to it.*ID_new"),
        (_moved, "another study_id or slice_num"),
    ],
)
def test_damaged_tables_are_named(simulation, damage, message):
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


def test_a_missing_fold_is_named(simulation):
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


def test_slices_twice_in_folds_are_refused(simulation):
    folds = pd.concat([simulation.folds, simulation.folds.iloc[:1]])
    with pytest.raises(InputError, match="holds 1 slices twice"):
        combine_oof(folds, list(simulation.oof.values()))


def test_one_model_is_enough_but_said(simulation, caplog):
    tables = [t for (model, _), t in simulation.oof.items() if model == "one"]
    wide = combine_oof(simulation.folds, tables)
    assert model_names(wide) == ("one",)
    assert "one model only, one" in caplog.text


def test_arrays_keep_model_and_class_apart(simulation):
    wide = combine_oof(simulation.folds, list(simulation.oof.values()))
    level = FirstLevel.from_table(wide)
    assert level.predictions.shape == (len(wide), 2, 6)
    np.testing.assert_array_equal(level.predictions[:, 1, 4], wide["two|subdural"])
    turned = level.ordered(("two", "one"))
    np.testing.assert_array_equal(turned.predictions[:, 0], level.predictions[:, 1])
    with pytest.raises(InputError, match=r"other models: three is missing\."):
        level.ordered(("one", "three"))
