"""Plans, learning rates and encoder freezing against tables computed by hand."""

import numpy as np
import pytest

from rsna19_kedro.errors import InputError
from rsna19_kedro.training.plan import plan_phase, run_starts, unit_samples
from rsna19_kedro.training.recipe import Phase
from rsna19_kedro.training.schedules import is_frozen, learning_rate


def test_curriculum_doubles_the_batch_of_single_slices() -> None:
    phase = Phase(learning_rate=1e-4, epochs=3, batch=4, single_slice_epochs=2)
    units = plan_phase(phase, samples=20)
    assert [(u.single_slice, u.batch, u.batches, u.first_step) for u in units] == [
        (True, 8, 2, 0),
        (True, 8, 2, 2),
        (False, 4, 5, 4),
    ]
    assert [u.epoch_end for u in units] == [1, 2, 3]


def test_four_validations_divide_an_epoch() -> None:
    phase = Phase(learning_rate=1, epochs=2, batch=2, validations_per_epoch=4)
    units = plan_phase(phase, samples=21)
    assert [u.batches for u in units] == [2, 3, 3, 2] * 2
    assert [u.epoch_end for u in units[:4]] == [0.2, 0.5, 0.8, 1.0]


def test_validations_within_an_epoch_follow_complete_updates() -> None:
    phase = Phase(learning_rate=1, epochs=1, batch=1, accumulate=2, validations_per_epoch=4)
    assert [u.batches for u in plan_phase(phase, samples=21)] == [6, 4, 6, 5]


def test_steps_end_a_phase_within_an_epoch() -> None:
    phase = Phase(learning_rate=1, steps=7, batch=2, frozen_steps="all")
    units = plan_phase(phase, samples=10)
    assert [(u.epoch, u.batches) for u in units] == [(0, 5), (1, 2)]


def test_each_epoch_has_every_sample_once_in_a_new_order() -> None:
    phase = Phase(learning_rate=1, epochs=2, batch=5, validations_per_epoch=2)
    units = plan_phase(phase, samples=30)
    seen = [unit_samples(u, (1, 2)) for u in units]
    first, second = np.concatenate(seen[:2]), np.concatenate(seen[2:])
    assert sorted(first) == sorted(second) == list(range(30))
    assert list(first) != list(second)
    assert list(seen[1]) == list(unit_samples(units[1], (1, 2)))


def test_batch_larger_than_the_fold_is_refused() -> None:
    with pytest.raises(InputError, match="only 7 training samples"):
        plan_phase(Phase(learning_rate=1, epochs=1, batch=8), samples=7)


def test_step_decay_of_the_planes_family() -> None:
    # docs/reference.md#schedules: full rate in epochs 0 to 5, times 0.2 from 6, 11 and 17.
    decay = {"from_epochs": (6, 11, 17), "factor": 0.2}
    phase = Phase(learning_rate=1e-4, step_decay=decay, epochs=20, batch=1)
    rates = [learning_rate(phase, 0, epoch, 0) for epoch in (0, 5, 6, 10, 11, 16, 17, 19)]
    assert rates == pytest.approx([1e-4, 1e-4, 2e-5, 2e-5, 4e-6, 4e-6, 8e-7, 8e-7])


def test_flat_then_cosine_of_the_channels_family() -> None:
    cosine = {"flat_steps": 8000, "cosine_steps": 12000, "min_lr": 1e-7}
    phase = Phase(learning_rate=1e-4, flat_cosine=cosine, steps=20000, batch=1)
    rates = [learning_rate(phase, step, 0, 20000) for step in (0, 8000, 14000, 20000)]
    assert rates == pytest.approx([1e-4, 1e-4, (1e-4 + 1e-7) / 2, 1e-7])


def test_one_cycle_rises_and_falls() -> None:
    phase = Phase(learning_rate=1.0, one_cycle={}, steps=10, batch=1)
    rates = [learning_rate(phase, step, 0, 10) for step in range(10)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert rates[3:] == sorted(rates[3:], reverse=True)


def test_frozen_steps_are_counted_in_batches() -> None:
    phase = Phase(learning_rate=1, epochs=1, batch=1, frozen_steps=2000)
    assert (is_frozen(phase, 1999), is_frozen(phase, 2000)) == (True, False)


def test_an_eighth_of_an_epoch() -> None:
    phase = Phase(learning_rate=1, epochs=0.125, batch=1)
    assert [(u.batches, u.validates) for u in plan_phase(phase, samples=16)] == [(2, True)]


def test_every_second_epoch_and_the_last_are_validated() -> None:
    phase = Phase(learning_rate=1, epochs=5, batch=1, epochs_per_validation=2)
    units = plan_phase(phase, samples=3)
    assert [u.validates for u in units] == [False, True, False, True, True]


def test_masked_samples_are_repeated_in_the_first_epochs() -> None:
    repeats = {"times": 16, "epochs": 1}
    phase = Phase(learning_rate=1, epochs=2, batch=10, mask_repeats=repeats)
    units = plan_phase(phase, samples=100, masked=4)
    assert [(u.samples, u.batches) for u in units] == [(160, 16), (100, 10)]
    assert sorted(unit_samples(units[0], (1,))) == list(range(160))


def test_masked_samples_can_be_repeated_in_every_epoch() -> None:
    repeats = {"times": 3, "epochs": "all"}
    phase = Phase(learning_rate=1, epochs=3, batch=1, mask_repeats=repeats)
    assert [u.samples for u in plan_phase(phase, samples=10, masked=1)] == [12, 12, 12]


def test_runs_start_at_random_slices_of_their_study() -> None:
    phase = Phase(learning_rate=1, epochs=1, batch=1)
    (unit,) = plan_phase(phase, samples=1)
    slices = np.repeat([2, 4, 10], 500)
    starts = run_starts(unit, (1, 2), slices, 4)
    assert set(starts[slices < 5]) == {0}
    assert set(starts[slices == 10]) == set(range(7))
    assert list(starts) == list(run_starts(unit, (1, 2), slices, 4))
