"""Nothing that is reported can have seen the labels that it is scored by."""

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pytest

from first_level_factory import simulate
from quick_candidates import SETTINGS, builders
from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble import FirstLevel, combine_oof
from rsna19_kedro.ensemble.combination import SimplexCandidate, SimplexSettings
from rsna19_kedro.ensemble.leaks import suspicious_folds
from rsna19_kedro.ensemble.nested import judge
from rsna19_kedro.ensemble.registry import build
from rsna19_kedro.ensemble.settings import WindowOptions
from rsna19_kedro.evaluation.baselines import INNER_CHOICE, PREVALENCE
from rsna19_kedro.evaluation.metrics import weighted_log_loss

FOLDS = 3
CORRECTIONS = ("temperature", "beta", "any")


@pytest.fixture(scope="module")
def level1():
    """Three folds instead of five: 6 fits of a candidate instead of 15."""
    simulation = simulate(patients=36)
    wide = combine_oof(simulation.folds, list(simulation.oof.values()))
    return wide.assign(fold=wide["patient_id"].str[1:].astype(int) % FOLDS)


def labels_of(level1):
    return level1[list(CLASSES)].to_numpy(np.uint8)


def judged(level1, made, features=None, labels=None, **options):
    return judge(
        FirstLevel.from_table(level1) if features is None else features,
        labels_of(level1) if labels is None else labels,
        level1["patient_id"].to_numpy(),
        level1["fold"].to_numpy(),
        made,
        **options,
    )


@pytest.mark.slow
def test_a_folds_labels_have_no_influence_on_its_predictions(level1):
    """The proof by change: turn one fold's labels round, and nothing said of it may move.

    That covers fits, early stopping, blend weights, the choice and the corrections at once.
    """
    options = {"blends": {"blend": tuple(SETTINGS)}, "corrections": CORRECTIONS}
    labels = labels_of(level1)
    fold = level1["fold"].to_numpy() == 2
    turned = np.where(fold[:, None], 1 - labels, labels)
    before = judged(level1, builders(), **options)
    after = judged(level1, builders(), labels=turned, **options)
    assert set(before.predictions) == {*SETTINGS, "blend", INNER_CHOICE, PREVALENCE}
    for name, values in before.predictions.items():
        np.testing.assert_array_equal(values[fold], after.predictions[name][fold], name)
    assert before.decisions[2].losses == after.decisions[2].losses
    learned = [name for name in before.predictions if name not in {"mean", "gaussian"}]
    for name in learned:  # whereas the other folds' predictions do rest on these labels
        assert not np.array_equal(before.predictions[name][~fold], after.predictions[name][~fold])


@pytest.mark.slow
def test_shuffled_labels_give_no_gain_over_prevalence(level1):
    shuffled = np.random.default_rng(1).permutation(labels_of(level1))
    result = judged(
        level1,
        builders(),
        labels=shuffled,
        blends={"blend": tuple(SETTINGS)},
        corrections=CORRECTIONS,
    ).predictions
    losses = {name: weighted_log_loss(shuffled, values) for name, values in result.items()}
    for name, loss in losses.items():
        assert loss > losses[PREVALENCE] - 1e-3, name


@dataclass
class Witness:
    """Remembers whom it was shown, and predicts what it learned of each slice."""

    diary: list = field(default_factory=list)
    known: dict = field(default_factory=dict)
    kind = "witness"

    def fit(self, features, labels, groups):
        places = zip(features.study, features.slice_num, strict=True)
        self.known = dict(zip(places, labels.astype(float), strict=True))
        self.diary.append((set(groups), set(features.study)))

    def predict(self, features):
        self.diary.append((None, set(features.study)))
        places = zip(features.study, features.slice_num, strict=True)
        return np.array([self.known.get(place, np.full(6, 0.5)) for place in places])


def test_a_candidate_that_knows_what_it_was_shown_gains_nothing(level1):
    """A model that learns its slices by heart is perfect on them, and is never chosen."""
    made = {**builders("mean"), "witness": lambda: Witness([])}
    result = judged(level1, made)
    assert (result.predictions["witness"] == 0.5).all()
    assert {decision.candidate for decision in result.decisions.values()} == {"mean"}
    assert result.final.candidate == "mean"


def test_no_patient_is_predicted_by_what_it_was_learned_from(level1):
    """Every fold, and every two of them, are predicted by a fit on the patients of the rest."""
    diary = []
    judged(level1, {**builders("mean"), "witness": lambda: Witness(diary)})
    studies = FirstLevel.from_table(level1).study
    patients, folds = level1["patient_id"].to_numpy(), level1["fold"].to_numpy()
    shown = []
    for seen, asked in diary:
        mine = np.isin(studies, list(asked))
        if seen is None:
            assert not set(patients[mine]) & shown[-1][0]
            shown[-1][1].extend(np.unique(folds[mine]))
        else:
            shown.append((seen, []))
    asked = sorted(tuple(sorted(of)) for _, of in shown)
    assert asked == sorted([(k,) for k in range(FOLDS)] + [*combinations(range(FOLDS), 2)])
    for seen, of in shown:
        assert seen == set(patients[~np.isin(folds, of)])


def planted(level1, fold):
    """A first-level model that knows the labels of one fold and nothing of the others."""
    features, labels = FirstLevel.from_table(level1), labels_of(level1)
    blind = np.full(labels.shape, labels.mean(axis=0)) * np.random.default_rng(0).uniform(
        0.5, 1.5, labels.shape
    )
    knows = np.where((level1["fold"] == fold).to_numpy()[:, None], labels, blind)
    predictions = np.concatenate([features.predictions, knows[:, None].astype(np.float32)], axis=1)
    return FirstLevel(
        (*features.models, "leaking"), predictions, features.study, features.slice_num
    )


def test_a_model_that_was_trained_on_a_fold_is_named(level1, caplog):
    found = suspicious_folds(planted(level1, 1), labels_of(level1), level1["fold"].to_numpy())
    assert found == [("leaking", 1)]
    assert "leaking has a loss of 0.0000 on fold 1" in caplog.text
    honest = FirstLevel.from_table(level1)
    assert suspicious_folds(honest, labels_of(level1), level1["fold"].to_numpy()) == []


def test_knowing_the_labels_of_the_training_folds_gives_no_nested_gain(level1):
    """Where it is fitted the planted model is a great gain; where it is scored, none.

    On the fold that it knows it would help, but no fit that is scored there has seen it
    know anything; on the others it is trusted for what it knew elsewhere, and harms. An
    average, which trusts every model unseen, does gain on that fold: nothing but the warning
    of the test before can tell.
    """
    leaking, labels = planted(level1, 1), labels_of(level1)
    apparent = SimplexCandidate(SimplexSettings(radius=1))
    apparent.fit(leaking, labels, level1["patient_id"].to_numpy())
    trees = SETTINGS["catboost"].model_copy(update={"features": WindowOptions(radius=0)})
    made = {**builders("mean", "simplex"), "catboost": lambda: build(trees)}
    honest = judged(level1, made).predictions
    nested = judged(level1, made, features=leaking).predictions
    known = level1["fold"].to_numpy() == 1
    shown = apparent.predict(leaking)[known]
    assert weighted_log_loss(labels[known], shown) < 0.95 * weighted_log_loss(
        labels[known], honest["simplex"][known]
    )
    for name in ("simplex", "catboost"):
        clean, spoilt = (weighted_log_loss(labels, r[name]) for r in (honest, nested))
        assert spoilt > clean, name
        fold_clean, fold_spoilt = (
            weighted_log_loss(labels[known], r[name][known]) for r in (honest, nested)
        )
        assert fold_spoilt > 0.95 * fold_clean, name
