"""No reported prediction depends on the labels that it is scored on."""

from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pytest

from first_level_factory import simulate
from quick_candidates import SETTINGS, builders
from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble import Candidate, FirstLevel, combine_oof
from rsna19_kedro.ensemble.combination import MeanSettings, SimplexCandidate, SimplexSettings
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
    """Three folds instead of five: 6 fits per candidate instead of 15."""
    simulation = simulate(patients=36)
    wide = combine_oof(simulation.folds, list(simulation.oof.values()))
    return wide.assign(fold=wide["patient_id"].str[1:].astype(int) % FOLDS)


def labels_of(level1):
    return level1[list(CLASSES)].to_numpy(np.uint8)


def run_judge(level1, candidates, features=None, labels=None, **options):
    return judge(
        FirstLevel.from_table(level1) if features is None else features,
        labels_of(level1) if labels is None else labels,
        level1["patient_id"].to_numpy(),
        level1["fold"].to_numpy(),
        candidates,
        **options,
    )


@pytest.mark.slow
def test_predictions_of_a_fold_do_not_depend_on_its_labels(level1):
    """Flip the labels of one fold and check that its predictions stay the same.

    This covers fits, early stopping, blend weights, choice and corrections.
    """
    options = {"blends": {"blend": tuple(SETTINGS)}, "corrections": CORRECTIONS}
    labels = labels_of(level1)
    fold = level1["fold"].to_numpy() == 2
    flipped = np.where(fold[:, None], 1 - labels, labels)
    before = run_judge(level1, builders(), **options)
    after = run_judge(level1, builders(), labels=flipped, **options)
    assert set(before.predictions) == {*SETTINGS, "blend", INNER_CHOICE, PREVALENCE}
    for name, values in before.predictions.items():
        np.testing.assert_array_equal(values[fold], after.predictions[name][fold], name)
    assert before.decisions[2].losses == after.decisions[2].losses
    learned = [name for name in before.predictions if name not in {"mean", "gaussian"}]
    for name in learned:  # predictions of other folds depend on these labels
        assert not np.array_equal(before.predictions[name][~fold], after.predictions[name][~fold])


@pytest.mark.slow
def test_shuffled_labels_give_no_gain_over_prevalence(level1):
    shuffled = np.random.default_rng(1).permutation(labels_of(level1))
    result = run_judge(
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
class Witness(Candidate):
    """Records the patients it was fitted on, and predicts memorised labels."""

    settings: MeanSettings = field(default_factory=MeanSettings)
    log: list = field(default_factory=list)
    memory: dict = field(default_factory=dict)

    def fit(self, features, labels, groups):
        keys = zip(features.study, features.slice_num, strict=True)
        self.memory = dict(zip(keys, labels.astype(float), strict=True))
        self.log.append((set(groups), set(features.study)))

    def predict(self, features):
        self.log.append((None, set(features.study)))
        keys = zip(features.study, features.slice_num, strict=True)
        return np.array([self.memory.get(key, np.full(6, 0.5)) for key in keys])


def test_a_candidate_that_memorises_its_training_slices_is_not_chosen(level1):
    """A model that memorises its training slices is perfect on them, but is never chosen."""
    candidates = {**builders("mean"), "witness": Witness}
    result = run_judge(level1, candidates)
    assert (result.predictions["witness"] == 0.5).all()
    assert {decision.candidate for decision in result.decisions.values()} == {"mean"}
    assert result.final.candidate == "mean"


def test_no_patient_is_predicted_by_a_fit_on_the_same_patient(level1):
    """Each fold and each pair of folds is predicted by a fit on the other patients."""
    log = []
    run_judge(level1, {**builders("mean"), "witness": lambda: Witness(log=log)})
    studies = FirstLevel.from_table(level1).study
    patients, folds = level1["patient_id"].to_numpy(), level1["fold"].to_numpy()
    fits = []
    for fitted, predicted in log:
        rows = np.isin(studies, list(predicted))
        if fitted is None:
            assert not set(patients[rows]) & fits[-1][0]
            fits[-1][1].extend(np.unique(folds[rows]))
        else:
            fits.append((fitted, []))
    left_out = sorted(tuple(sorted(numbers)) for _, numbers in fits)
    assert left_out == sorted([(k,) for k in range(FOLDS)] + [*combinations(range(FOLDS), 2)])
    for fitted, numbers in fits:
        assert fitted == set(patients[~np.isin(folds, numbers)])


def add_leaking_model(level1, fold):
    """Add a first-level model that predicts the labels of one fold and noise on the others."""
    features, labels = FirstLevel.from_table(level1), labels_of(level1)
    noise = np.full(labels.shape, labels.mean(axis=0)) * np.random.default_rng(0).uniform(
        0.5, 1.5, labels.shape
    )
    leaking = np.where((level1["fold"] == fold).to_numpy()[:, None], labels, noise)
    predictions = np.concatenate(
        [features.predictions, leaking[:, None].astype(np.float32)], axis=1
    )
    return FirstLevel(
        (*features.models, "leaking"), predictions, features.study, features.slice_num
    )


def test_a_model_that_was_trained_on_a_fold_is_named(level1, caplog):
    suspicious = suspicious_folds(
        add_leaking_model(level1, 1), labels_of(level1), level1["fold"].to_numpy()
    )
    assert suspicious == [("leaking", 1)]
    assert "leaking has a loss of 0.0000 on fold 1" in caplog.text
    clean = FirstLevel.from_table(level1)
    assert suspicious_folds(clean, labels_of(level1), level1["fold"].to_numpy()) == []


def test_knowing_the_labels_of_the_training_folds_gives_no_nested_gain(level1):
    """The leaking model lowers the training loss, but not the nested loss.

    Fits scored on the leaked fold were made without it, so they give the model no weight. On
    the other folds, fits that include the leaked fold trust the model, which raises the loss.
    Only an average gains on the leaked fold; the warning of the test above covers that case.
    """
    leaking, labels = add_leaking_model(level1, 1), labels_of(level1)
    apparent = SimplexCandidate(SimplexSettings(radius=1))
    apparent.fit(leaking, labels, level1["patient_id"].to_numpy())
    trees = SETTINGS["catboost"].model_copy(update={"features": WindowOptions(radius=0)})
    candidates = {**builders("mean", "simplex"), "catboost": lambda: build(trees)}
    reference = run_judge(level1, candidates).predictions
    nested = run_judge(level1, candidates, features=leaking).predictions
    in_leaked_fold = level1["fold"].to_numpy() == 1
    fitted = apparent.predict(leaking)[in_leaked_fold]
    assert weighted_log_loss(labels[in_leaked_fold], fitted) < 0.95 * weighted_log_loss(
        labels[in_leaked_fold], reference["simplex"][in_leaked_fold]
    )
    for name in ("simplex", "catboost"):
        clean, leaked = (weighted_log_loss(labels, r[name]) for r in (reference, nested))
        assert leaked > clean, name
        fold_clean, fold_leaking = (
            weighted_log_loss(labels[in_leaked_fold], r[name][in_leaked_fold])
            for r in (reference, nested)
        )
        assert fold_leaking > 0.95 * fold_clean, name
