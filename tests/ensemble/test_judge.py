import json

import numpy as np
import pytest

from first_level_factory import simulate
from quick_candidates import builders
from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble import FirstLevel, combine_oof
from rsna19_kedro.ensemble.judge import (
    describe_choice,
    describe_decisions,
    prediction_table,
    score_table,
)
from rsna19_kedro.ensemble.nested import decide, judge
from rsna19_kedro.ensemble.splits import check_patients
from rsna19_kedro.errors import InputError
from rsna19_kedro.evaluation.baselines import INNER_CHOICE
from rsna19_kedro.evaluation.metrics import weighted_log_loss

NAMES = ("mean", "simplex", "catboost")


@pytest.fixture(scope="module")
def level1():
    simulation = simulate(patients=40)
    return combine_oof(simulation.folds, list(simulation.oof.values()))


def labels_of(level1):
    return level1[list(CLASSES)].to_numpy(np.uint8)


def run_judge(level1, names=NAMES, **options):
    return judge(
        FirstLevel.from_table(level1),
        labels_of(level1),
        level1["patient_id"].to_numpy(),
        level1["fold"].to_numpy(),
        builders(*names),
        **options,
    )


@pytest.fixture(scope="module")
def judgement(level1):
    return run_judge(level1, blends={"blend": NAMES}, corrections=("temperature", "beta", "any"))


def test_patients_in_several_folds_are_refused(level1):
    crossing = level1.assign(fold=level1["slice_num"] % 5)
    with pytest.raises(InputError, match=r"In more than one fold: 40 patients, first .*P000"):
        run_judge(crossing)
    check_patients(np.array(["a", "a", "b"]), np.array([0, 0, 1]))


def test_too_few_folds_are_refused(level1):
    with pytest.raises(InputError, match=r"in folds \[2\]"):
        run_judge(level1[level1["fold"] == 2])
    with pytest.raises(InputError, match=r"in folds \[0, 1\]"):
        run_judge(level1[level1["fold"] < 2])


def test_candidates_gain_over_the_mean_with_true_labels(level1, judgement):
    scores = score_table(level1, judgement.predictions, resamples=200, seed=0)
    losses = scores.set_index("candidate")["loss"]
    assert losses.is_monotonic_increasing
    assert set(losses.index) == {*NAMES, "blend", INNER_CHOICE, "prevalence"}
    assert losses[["simplex", "catboost"]].max() < losses["mean"] < losses["prevalence"]
    table = scores.set_index("candidate")
    assert table.loc["mean", ["difference", "difference_low", "difference_high"]].eq(0).all()
    assert ((table["loss_low"] < table["loss"]) & (table["loss"] < table["loss_high"])).all()
    by_class = table[[f"log_loss_{name}" for name in CLASSES]].to_numpy()
    np.testing.assert_allclose(by_class @ [1, 1, 1, 1, 1, 2] / 7, table["loss"])
    assert table.loc["mean", "auc_any"] > 0.7
    assert table.loc["mean", ["slices", "patients"]].tolist() == [960, 40]


def test_the_inner_choice_has_the_lowest_inner_loss_of_each_fold(level1, judgement):
    for fold, decision in judgement.decisions.items():
        assert decision.candidate == min(decision.losses, key=decision.losses.get)
        assert set(decision.losses) == {*NAMES, "blend"}
        rows = (level1["fold"] == fold).to_numpy()
        expected = judgement.predictions[decision.candidate][rows]
        for step in decision.corrections:
            expected = step.apply(expected)
        np.testing.assert_allclose(judgement.predictions[INNER_CHOICE][rows], expected)


def test_the_final_choice_has_the_lowest_loss_of_the_table(level1, judgement):
    final = judgement.final
    for name in (*NAMES, "blend"):
        expected = weighted_log_loss(labels_of(level1), judgement.predictions[name])
        assert final.losses[name] == pytest.approx(expected, abs=1e-9)
    assert final.candidate == min(final.losses, key=final.losses.get)
    tried = final.correction_losses
    assert set(tried) == {
        *("none", "temperature", "beta", "any", "temperature+any", "beta+any"),
    }
    assert tried["none"] == pytest.approx(final.losses[final.candidate])
    kept = "+".join(step.kind for step in final.corrections) or "none"
    assert kept == min(tried, key=tried.get)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_table(level1):
    names = ("mean", "mlp", "sequence", "catboost")
    three = level1[level1["fold"] < 3].reset_index(drop=True)
    results = [run_judge(three, names, blends={"blend": names}).predictions for _ in range(2)]
    first, second = (score_table(three, result, resamples=100, seed=0) for result in results)
    assert first.equals(second)


def test_corrections_are_kept_only_where_they_help():
    """Calibrated predictions stay unchanged; overconfident ones are corrected."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.02, 0.98, (4000, 6))
    truth[:, -1] = truth.max(axis=1)
    labels = (rng.random(truth.shape) < truth).astype(np.uint8)
    folds = np.arange(4000) % 4
    allowed = ("temperature", "beta", "any")
    good = decide({"mean": truth}, labels, folds, {}, allowed)
    odds = truth / (1 - truth)
    overconfident = odds**3 / (1 + odds**3)
    bad = decide({"mean": overconfident}, labels, folds, {}, allowed)
    assert bad.corrections[0].kind in {"temperature", "beta"}
    np.testing.assert_allclose(bad.corrections[0].a, 1 / 3, atol=0.05)
    assert good.correction_losses["none"] - min(good.correction_losses.values()) < 2e-3
    low = truth.copy()
    low[:, -1] *= 0.5
    assert decide({"mean": low}, labels, folds, {}, ("any",)).corrections[0].kind == "any"
    consistent = decide({"mean": truth}, labels, folds, {}, ("any",))
    assert consistent.corrections == ()


def test_a_blend_of_two_equally_good_candidates_weights_them_equally():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(3000, 6))
    labels = (truth > 1).astype(np.uint8)
    predictions = {
        name: 1 / (1 + np.exp(2 - 2 * (truth + rng.normal(size=truth.shape)))) for name in "ab"
    }
    decision = decide(predictions, labels, np.arange(3000) % 3, {"blend": ("a", "b")}, ())
    assert decision.candidate == "blend"
    np.testing.assert_allclose(decision.blends["blend"], 0.5, atol=0.15)


def describe(level1, judgement):
    scores = score_table(level1, judgement.predictions, resamples=200, seed=0)
    return scores, describe_choice(scores, describe_decisions(judgement), "some kind")


def test_the_choice_is_json_and_reports_the_inner_choice(level1, judgement):
    scores, choice = describe(level1, judgement)
    choice = json.loads(json.dumps(choice))
    row = scores.set_index("candidate").loc[INNER_CHOICE]
    assert choice["chosen"] == INNER_CHOICE
    assert choice["candidate"] == judgement.final.candidate
    assert choice["loss"] == row[["loss", "loss_low", "loss_high"]].tolist()
    assert choice["difference_to_mean"][0] == row["difference"]
    assert set(choice["losses"]) == {*NAMES, "blend", INNER_CHOICE}
    assert set(choice["inner"]) == {"0", "1", "2", "3", "4"}
    reason = choice["reason"]
    assert f"Reported score: {row['loss']:.4f}." in reason
    assert f"Compared with the plain average: {row['difference']:+.4f} (95 % interval" in reason
    assert f"({choice['candidate']})" in reason.split(" It has the lowest")[0]
    assert "of 4 candidates and was fitted on all folds" in reason


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-2, 1, "the difference may be due to chance."),
        (1, 2, "worse than the plain average's."),
        (-2, -1, "better than the plain average's."),
    ],
)
def test_the_reason_states_the_sign_of_the_difference(level1, judgement, low, high, expected):
    scores, _ = describe(level1, judgement)
    row = scores["candidate"] == INNER_CHOICE
    scores.loc[row, ["difference_low", "difference_high"]] = [low, high]
    reason = describe_choice(scores, describe_decisions(judgement), "some kind")["reason"]
    assert reason.endswith(expected)


def test_the_long_table_joins_keys_and_predictions(level1):
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
