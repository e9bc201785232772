import numpy as np
import pytest
import torch
from pydantic import ValidationError

from first_level_factory import simulate
from quick_candidates import SHORT
from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ensemble import FirstLevel, combine_oof, load_candidate
from rsna19_kedro.ensemble.sequence import SequenceCandidate, SequenceSettings
from rsna19_kedro.ensemble.sequence_network import SequenceNetwork


@pytest.fixture(scope="module")
def problem():
    simulation = simulate(patients=12, length=7)
    wide = combine_oof(simulation.folds, list(simulation.oof.values()))
    labels = wide[list(CLASSES)].to_numpy(np.uint8)
    return FirstLevel.from_table(wide), labels, wide["patient_id"].to_numpy()


def network(body):
    torch.manual_seed(0)
    model = SequenceNetwork(5, body, width=8, layers=2, dropout=0.1).eval()
    torch.nn.init.normal_(model.outlet.weight)
    return model


@pytest.mark.parametrize("body", ["gru", "transformer"])
def test_padding_has_no_effect(body):
    """A study has the same logits alone and in a batch with a longer one, for any padding."""
    model = network(body)
    features, means = torch.randn(2, 9, 5), torch.randn(2, 9, 6)
    alone = model(features[:1, :4], means[:1, :4], torch.tensor([4]))
    for filling in (0.0, 1e3):
        features[0, 4:] = filling
        means[0, 4:] = filling
        together = model(features, means, torch.tensor([4, 9]))
        assert together.shape == (13, 6)
        torch.testing.assert_close(together[:4], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("body", ["gru", "transformer"])
def test_every_slice_sees_both_ends_of_the_study(body):
    model = network(body)
    features, means = torch.randn(1, 6, 5), torch.zeros(1, 6, 6)
    before = model(features, means, torch.tensor([6]))
    for changed, read in ((0, 5), (5, 0)):
        other = features.clone()
        other[0, changed] += 3
        assert (model(other, means, torch.tensor([6]))[read] != before[read]).all()


def test_an_untrained_network_predicts_the_plain_mean():
    model = SequenceNetwork(5, "gru", width=8, layers=1, dropout=0.0)
    means = torch.randn(3, 4, 6)
    logits = model(torch.randn(3, 4, 5), means, torch.tensor([4, 4, 4]))
    torch.testing.assert_close(logits, means.reshape(12, 6))


def test_training_without_improvement_keeps_the_initial_mean(problem):
    """With a learning rate so high that every step raises the loss, the initial weights stay."""
    features, labels, patients = problem
    settings = SequenceSettings(width=8, learning_rate=1e4, **SHORT)
    candidate = SequenceCandidate(settings)
    candidate.fit(features, labels, patients)
    np.testing.assert_allclose(
        candidate.predict(features), features.predictions.mean(axis=1), atol=2e-4
    )


def test_studies_are_read_in_slice_order_in_both_directions(problem):
    features, _, _ = problem
    order = np.random.default_rng(0).permutation(len(features))
    shuffled = FirstLevel(
        features.models,
        features.predictions[order],
        features.study[order],
        features.slice_num[order],
    )
    candidate = SequenceCandidate(SequenceSettings(), models=features.models)
    items = candidate.items(shuffled)
    assert len(items) == 24
    plain, reverse = (items.batch(np.array([3, 5]), flag).rows for flag in (False, True))
    for rows, numbers in ((plain, [*range(7)] * 2), (reverse, [*range(6, -1, -1)] * 2)):
        assert shuffled.slice_num[rows].tolist() == numbers
        assert len(np.unique(shuffled.study[rows[:7]])) == 1
    (values, means, lengths), rows = items.batch(np.array([0]), False)
    assert values.shape == (1, 7, 13)  # two models and the position
    assert lengths.tolist() == [7]
    clipped = np.clip(shuffled.predictions[rows].mean(axis=1), 1e-4, 1 - 1e-4)
    np.testing.assert_allclose(means[0], np.log(clipped / (1 - clipped)), atol=1e-3)


@pytest.mark.parametrize("body", ["gru", "transformer"])
def test_several_seeds_are_averaged_and_saved(problem, body, tmp_path):
    features, labels, patients = problem
    settings = SequenceSettings(width=8, body=body, members=2, inner_folds=3, **SHORT)
    candidate = SequenceCandidate(settings, seed=4)
    candidate.fit(features, labels, patients)
    first, second = (dict(n.named_parameters())["outlet.weight"] for n in candidate.networks)
    assert not torch.equal(first, second)
    candidate.save(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    loaded = load_candidate(tmp_path)
    assert loaded.settings == settings
    np.testing.assert_array_equal(loaded.predict(features), candidate.predict(features))


def test_training_neither_uses_nor_changes_the_global_random_state(problem):
    features, labels, patients = problem
    results = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        candidate = SequenceCandidate(SequenceSettings(width=8, **SHORT))
        expected = torch.random.get_rng_state()
        candidate.fit(features, labels, patients)
        assert torch.equal(torch.random.get_rng_state(), expected)
        results.append(candidate.predict(features))
    np.testing.assert_array_equal(*results)


def test_a_width_that_is_not_a_multiple_of_the_heads_is_refused():
    with pytest.raises(ValidationError, match="multiple of 4"):
        SequenceSettings(width=30)
