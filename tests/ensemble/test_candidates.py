import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from first_level_factory import simulate
from quick_candidates import SETTINGS
from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble import FirstLevel, combine_oof, load_candidate, registry
from rsna19_kedro.ensemble.averages import (
    GaussianCandidate,
    GaussianSettings,
    WeightedMeanCandidate,
)
from rsna19_kedro.ensemble.blend import BlendCandidate
from rsna19_kedro.ensemble.boosting import BoostingSettings, CatBoostCandidate
from rsna19_kedro.ensemble.combination import MeanCandidate, SimplexCandidate
from rsna19_kedro.ensemble.correction import CorrectedCandidate, CorrectedSettings, fit_correction
from rsna19_kedro.ensemble.splits import inner_folds
from rsna19_kedro.errors import InputError
from rsna19_kedro.evaluation.metrics import weighted_log_loss

QUICK = BoostingSettings(iterations=40, threads=1)


@pytest.fixture(scope="module")
def problem():
    simulation = simulate(patients=25)
    wide = combine_oof(simulation.folds, list(simulation.oof.values()))
    labels = wide[list(CLASSES)].to_numpy(np.uint8)
    return FirstLevel.from_table(wide), labels, wide["patient_id"].to_numpy()


def build(kind):
    if kind == "blend":
        members = {name: build(name) for name in ("mean", "simplex", "sequence")}
        return BlendCandidate(parts=members, weights=np.full((3, 6), 1 / 3))
    if kind == "corrected":
        rng = np.random.default_rng(0)
        values = rng.random((200, 6))
        steps = [fit_correction(kind, values, rng.random((200, 6)) < values**2) for kind in STEPS]
        return CorrectedCandidate(
            CorrectedSettings(corrections=tuple(steps)), parts={"base": build("blend")}
        )
    return registry.build(SETTINGS[kind])


STEPS = ("temperature", "beta", "any")
KINDS = [*SETTINGS, "blend", "corrected"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_candidate_predicts_the_same_and_is_not_pickled(problem, kind, tmp_path):
    features, labels, patients = problem
    candidate = build(kind)
    candidate.fit(features, labels, patients)
    before = candidate.predict(features)
    assert before.shape == labels.shape
    assert ((before >= 0) & (before <= 1)).all()
    candidate.save(tmp_path)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".cbm", ".safetensors"}
    loaded = load_candidate(tmp_path)
    assert loaded.kind == kind
    np.testing.assert_allclose(loaded.predict(features), before, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_rows_and_models_has_no_effect(problem, kind):
    features, labels, patients = problem
    candidate = build(kind)
    candidate.fit(features, labels, patients)
    order = np.random.default_rng(0).permutation(len(features))
    reordered = FirstLevel(
        features.models[::-1],
        features.predictions[order][:, ::-1],
        features.study[order],
        features.slice_num[order],
    )
    np.testing.assert_allclose(
        candidate.predict(reordered), candidate.predict(features)[order], atol=1e-6
    )


def test_the_mean_is_the_mean(problem):
    features, labels, patients = problem
    candidate = MeanCandidate()
    candidate.fit(features, labels, patients)
    expected = (features.predictions[:, 0].astype(float) + features.predictions[:, 1]) / 2
    np.testing.assert_allclose(candidate.predict(features), expected)


def test_the_simplex_is_better_than_the_mean_on_its_training_slices(problem):
    features, labels, patients = problem
    simplex, mean = SimplexCandidate(), MeanCandidate()
    for candidate in (simplex, mean):
        candidate.fit(features, labels, patients)
    fitted = weighted_log_loss(labels, simplex.predict(features), eps=1e-5)
    assert fitted < weighted_log_loss(labels, mean.predict(features), eps=1e-5)
    assert simplex.weights.shape == (60, 6)
    assert simplex.weights.min() >= 0
    np.testing.assert_allclose(simplex.weights.sum(axis=0), 1)
    assert max(part["gap"] for part in simplex.certificates.values()) < 1e-6


def test_boosting_learns_what_a_convex_combination_cannot(problem):
    """The label is the inverted neighbour above, which no weights >= 0 can express."""
    features, _, patients = problem
    above = np.roll(features.predictions[:, 0], -1, axis=0)
    labels = (above < 0.2).astype(np.uint8)
    boosting, simplex = CatBoostCandidate(QUICK), SimplexCandidate()
    for candidate in (boosting, simplex):
        candidate.fit(features, labels, patients)
    assert weighted_log_loss(labels, boosting.predict(features)) < 0.5 * weighted_log_loss(
        labels, simplex.predict(features)
    )


def test_boosting_is_reproducible(problem):
    features, labels, patients = problem
    results = []
    for _ in range(2):
        candidate = CatBoostCandidate(QUICK)
        candidate.fit(features, labels, patients)
        results.append(candidate.predict(features))
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_predicts_a_class_without_positives_low(problem, kind, caplog):
    """Averages follow the models; learned candidates predict about 1 in N and log a warning."""
    features, labels, patients = problem
    without = labels.copy()
    without[:, 2] = 0
    candidate = build(kind)
    candidate.fit(features, without, patients)
    prediction = candidate.predict(features)
    assert np.isfinite(prediction).all()
    if kind in {"catboost", "mlp", "sequence"}:
        assert prediction[:, 2].max() < 3 / len(labels)
    if kind not in {"mean", "weighted_mean", "gaussian"}:
        assert "intraventricular" in caplog.text
    if kind != "corrected":
        assert prediction[:, 2].mean() <= features.predictions[:, :, 2].mean() + 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_model_and_a_single_slice_are_accepted(problem, kind):
    features, labels, patients = problem
    single = FirstLevel(
        features.models[:1], features.predictions[:, :1], features.study, features.slice_num
    )
    candidate = build(kind)
    candidate.fit(single, labels, patients)
    first = np.arange(len(single)) == 0
    assert candidate.predict(single.take(first)).shape == (1, 6)
    assert np.isfinite(candidate.predict(single)).all()


def test_weights_are_inverse_to_the_loss(problem):
    features, labels, patients = problem
    candidate = WeightedMeanCandidate()
    candidate.fit(features, labels, patients)
    losses = [weighted_log_loss(labels, features.predictions[:, m]) for m in range(2)]
    first, second = candidate.weights.values()
    assert first + second == pytest.approx(1)
    assert first / second == pytest.approx(losses[1] / losses[0])


def test_gaussian_weights_by_hand_with_gaps_and_ends():
    """Slices 0, 1 and 3 of a study: 2 is missing, so the offset of 1 and 3 is 2."""
    predictions = np.tile(np.array([0.2, 0.4, 0.8])[:, None, None], (1, 1, 6)).astype(np.float32)
    level = FirstLevel(("a",), predictions, np.zeros(3, int), np.array([0, 1, 3]))
    candidate = GaussianCandidate(GaussianSettings(std=0.7))
    candidate.fit(level, np.zeros((3, 6)), np.zeros(3))
    one, two = np.exp(-0.5 / 0.49), np.exp(-2.0 / 0.49)
    expected = [
        (0.2 + 0.4 * one) / (1 + one),
        (0.4 + 0.2 * one + 0.8 * two) / (1 + one + two),
        (0.8 + 0.4 * two) / (1 + two),
    ]
    np.testing.assert_allclose(candidate.predict(level)[:, 0], expected, rtol=1e-6)


def test_separate_trees_per_class(problem, tmp_path):
    features, labels, patients = problem
    settings = SETTINGS["catboost"].model_copy(update={"per_class": True})
    candidate = CatBoostCandidate(settings)
    candidate.fit(features, labels, patients)
    assert [len(member.trees) for member in candidate.members] == [6, 6]
    candidate.save(tmp_path)
    loaded = load_candidate(tmp_path)
    before = candidate.predict(features)
    np.testing.assert_allclose(loaded.predict(features), before, atol=1e-12)
    mean = weighted_log_loss(labels, features.predictions.mean(axis=1))
    assert weighted_log_loss(labels, before) < mean


@pytest.mark.parametrize("varying", [1, 0])
def test_classes_with_equal_labels_are_predicted_as_a_constant(problem, varying, tmp_path, caplog):
    features, labels, patients = problem
    rare = np.zeros_like(labels)
    rare[:, :varying] = labels[:, -1:]
    candidate = CatBoostCandidate(QUICK)
    candidate.fit(features, rare, patients)
    prediction = candidate.predict(features)
    assert (prediction[:, varying:] < 2 / (0.5 * len(labels))).all()
    assert (prediction[:, varying:] > 0).all()
    if varying:
        assert prediction[labels[:, -1] == 1, 0].mean() > 0.5
    assert "3 of 3 inner models predict any as a constant" in caplog.text
    candidate.save(tmp_path)
    np.testing.assert_allclose(load_candidate(tmp_path).predict(features), prediction)


def test_a_single_patient_can_be_fitted(problem, caplog):
    features, labels, patients = problem
    candidate = CatBoostCandidate(QUICK)
    candidate.fit(features, labels, np.full(len(patients), "P"))
    assert "a single patient" in caplog.text
    assert np.isfinite(candidate.predict(features)).all()


@given(seed=st.integers(0, 1000), folds=st.integers(2, 6))
@settings(max_examples=30, deadline=None)
def test_inner_folds_keep_patients_together(seed, folds):
    groups = np.random.default_rng(seed).integers(0, 9, 60)
    part = inner_folds(groups, folds, seed)
    assert all(len(np.unique(part[groups == patient])) == 1 for patient in np.unique(groups))
    sizes = [len(np.unique(groups[part == k])) for k in np.unique(part)]
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == min(folds, len(np.unique(groups)))


def test_a_folder_without_a_model_is_reported(tmp_path):
    with pytest.raises(InputError, match=r"candidate\.json is missing"):
        load_candidate(tmp_path)
    (tmp_path / "candidate.json").write_text(json.dumps({"kind": "oracle"}))
    with pytest.raises(InputError, match=r"unknown kind 'oracle' \(known: mean, .*corrected"):
        load_candidate(tmp_path)


def test_a_model_of_another_version_is_refused(tmp_path):
    old = {"kind": "catboost", "settings": {"radius": 2}, "models": [], "members": []}
    (tmp_path / "candidate.json").write_text(json.dumps(old))
    with pytest.raises(InputError, match="another version"):
        load_candidate(tmp_path)


def test_a_missing_model_is_reported(problem):
    features, labels, patients = problem
    candidate = MeanCandidate()
    candidate.fit(features, labels, patients)
    fewer = FirstLevel(("one",), features.predictions[:, :1], features.study, features.slice_num)
    with pytest.raises(InputError, match=r"other models: two is missing\. Predict with one, two"):
        candidate.predict(fewer)


def test_every_kind_is_built_by_name() -> None:
    for kind in registry.KINDS:
        assert registry.build(registry.read_settings({"kind": kind})).kind == kind
