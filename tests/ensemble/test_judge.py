from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest

from first_level_factory import simulate
from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble import FirstLevel, combine_oof
from rsna19_kedro.ensemble.boosting import BoostingSettings, CatBoostCandidate
from rsna19_kedro.ensemble.combination import MeanCandidate, SimplexCandidate
from rsna19_kedro.ensemble.judge import (
    check_patients,
    choose,
    nested_predictions,
    prediction_table,
    score_table,
)
from rsna19_kedro.errors import InputError
from rsna19_kedro.evaluation.metrics import weighted_log_loss

BUILDERS = {
    "mean": MeanCandidate,
    "simplex": SimplexCandidate,
    "catboost": partial(CatBoostCandidate, BoostingSettings(iterations=60, threads=1)),
}


@pytest.fixture(scope="module")
def level1():
    simulation = simulate(patients=40)
    return combine_oof(simulation.folds, list(simulation.oof.values()))


def nested(level1, builders=BUILDERS, labels=None):
    return nested_predictions(
        FirstLevel.from_table(level1),
        level1[list(CLASSES)].to_numpy(np.uint8) if labels is None else labels,
        level1["patient_id"].to_numpy(),
        level1["fold"].to_numpy(),
        builders,
    )


@dataclass
class Witness:
    """Remembers whom it was shown, and predicts what it learned of each slice."""

    diary: list = field(default_factory=list)
    known: dict = field(default_factory=dict)
    kind = "witness"

    def fit(self, features, labels, groups):
        places = zip(features.study, features.slice_num, strict=True)
        self.known = dict(zip(places, labels.astype(float), strict=True))
        self.diary.append(("fit", set(groups), set(features.study)))

    def predict(self, features):
        self.diary.append(("predict", None, set(features.study)))
        places = zip(features.study, features.slice_num, strict=True)
        return np.array([self.known.get(place, np.full(6, 0.5)) for place in places])


def test_no_candidate_sees_a_slice_or_patient_that_it_is_scored_on(level1):
    diary = []
    result = nested(level1, {"mean": partial(Witness, diary)})["mean"]
    assert (result == 0.5).all()
    assert len(diary) == 10
    codes = FirstLevel.from_table(level1).study
    for (_, patients, learned), (_, _, scored) in zip(diary[::2], diary[1::2], strict=True):
        assert learned | scored == set(codes)
        assert not learned & scored
        assert not patients & set(level1["patient_id"][np.isin(codes, list(scored))])


def test_patients_that_cross_folds_are_refused(level1):
    crossing = level1.assign(fold=level1["slice_num"] % 5)
    with pytest.raises(InputError, match=r"40 patients stand in more than one fold.*P000"):
        nested(crossing)
    check_patients(np.array(["a", "a", "b"]), np.array([0, 0, 1]))


def test_a_single_fold_is_refused(level1):
    with pytest.raises(InputError, match=r"only fold \[2\]"):
        nested(level1[level1["fold"] == 2])


def test_shuffled_labels_give_no_gain_over_prevalence(level1):
    labels = level1[list(CLASSES)].to_numpy(np.uint8)
    shuffled = np.random.default_rng(1).permutation(labels)
    result = nested(level1, labels=shuffled)
    prevalence = weighted_log_loss(shuffled, result["prevalence"])
    for name in BUILDERS:
        assert weighted_log_loss(shuffled, result[name]) > prevalence - 1e-3, name


def test_real_labels_give_a_gain_and_the_choice_is_the_lowest(level1):
    predictions = nested(level1)
    scores = score_table(level1, predictions, resamples=200, seed=0)
    losses = scores.set_index("candidate")["loss"]
    assert losses.is_monotonic_increasing
    assert set(losses.index) == {*BUILDERS, "prevalence"}
    assert losses[["simplex", "catboost"]].max() < losses["mean"] < losses["prevalence"]
    table = scores.set_index("candidate")
    assert table.loc["mean", ["difference", "difference_low", "difference_high"]].eq(0).all()
    assert ((table["loss_low"] < table["loss"]) & (table["loss"] < table["loss_high"])).all()
    by_class = table[[f"log_loss_{name}" for name in CLASSES]].to_numpy()
    np.testing.assert_allclose(by_class @ [1, 1, 1, 1, 1, 2] / 7, table["loss"])
    assert table.loc["mean", "auc_any"] > 0.7
    assert table.loc["mean", ["slices", "patients"]].tolist() == [960, 40]
    kinds = {name: name for name in BUILDERS}
    choice = choose(scores, kinds)
    assert choice["chosen"] == choice["kind"] == losses[list(BUILDERS)].idxmin()
    assert set(choice["losses"]) == set(BUILDERS)
    assert "against the plain mean" in choice["reason"]


def test_rows_for_comparison_are_never_chosen(level1):
    labels = level1[list(CLASSES)].to_numpy(float)
    predictions = {"mean": np.full(labels.shape, 0.3), "hu_histogram": np.clip(labels, 0.1, 0.9)}
    scores = score_table(level1, predictions, resamples=100, seed=0)
    assert scores["candidate"].tolist() == ["hu_histogram", "mean"]
    choice = choose(scores, {"mean": "mean"})
    assert choice["chosen"] == "mean"
    assert "against" not in choice["reason"]


def test_a_gain_that_may_be_chance_is_called_so(level1):
    rng = np.random.default_rng(0)
    labels = level1[list(CLASSES)].to_numpy(float)
    base = np.clip(0.2 + 0.4 * labels, 0, 1)
    noisy = np.clip(base + rng.normal(0, 0.01, base.shape), 0.01, 0.99)
    scores = score_table(level1, {"mean": noisy, "other": noisy[:, :]}, resamples=100, seed=0)
    scores.loc[scores["candidate"] == "other", ["loss", "difference"]] -= 1e-5
    choice = choose(scores, {"mean": "mean", "other": "simplex"})
    assert choice["chosen"] == "other"
    assert "may be chance" in choice["reason"]


def test_the_long_table_keeps_keys_beside_predictions(level1):
    predictions = {
        "mean": np.full((len(level1), 6), 0.25),
        "prevalence": np.zeros((len(level1), 6)),
    }
    table = prediction_table(level1, predictions)
    assert len(table) == 2 * len(level1)
    part = table[table["candidate"] == "prevalence"].reset_index(drop=True)
    assert part["sop_instance_uid"].equals(level1["sop_instance_uid"])
    assert table["pred_any"].dtype == np.float32
    assert set(table["pred_any"][: len(level1)]) == {0.25}
