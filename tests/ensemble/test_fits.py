"""Fits of nested cross-validation: side by side, kept, and resumed after a kill."""

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from first_level_factory import simulate
from quick_candidates import SETTINGS, builders
from rsna19_kedro.ensemble import FirstLevel, combine_oof, fits
from rsna19_kedro.ensemble.fits import Data, fitted
from rsna19_kedro.ensemble.registry import build
from rsna19_kedro.ensemble.stack import labels_of

pytestmark = pytest.mark.slow

FITS = 15
"""Fits per candidate: without each of five folds, and without each pair of them."""


def data():
    simulation = simulate(patients=10, length=6)
    wide = combine_oof(simulation.folds, list(simulation.oof.values()))
    return Data(
        FirstLevel.from_table(wide),
        labels_of(wide),
        wide["patient_id"].to_numpy(),
        wide["fold"].to_numpy(),
    )


def views(candidates, given, folder=None):
    with fitted(candidates, given, folder) as predictions:
        return {name: [p.without(k) for k in given.numbers] for name, p in predictions.items()}


def assert_equal(first, second):
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name], err_msg=name)


@pytest.fixture
def counted_fits(monkeypatch):
    """Names of the candidates that are fitted, one per fit."""
    names, fit = [], fits._Fits._fit
    monkeypatch.setattr(
        fits._Fits, "_fit", lambda self, job, n: names.append(job.name) or fit(self, job, n)
    )
    return names


def test_results_do_not_depend_on_the_number_of_cores(monkeypatch):
    given, candidates = data(), builders()
    results = []
    for cores in (1, 4):
        monkeypatch.setattr(fits, "available_cores", lambda cores=cores: cores)
        results.append(views(candidates, given))
    assert_equal(*results)


def test_only_missing_fits_are_run(tmp_path, counted_fits):
    given, candidates = data(), builders("mean", "weighted_mean", "gaussian")
    first = views(candidates, given, tmp_path)
    assert len(counted_fits) == 3 * FITS
    lost = sorted((tmp_path / "gaussian").glob("without_*.npz"))[3:5]
    for path in lost:
        path.unlink()
    counted_fits.clear()
    assert_equal(views(candidates, given, tmp_path), first)
    assert counted_fits == ["gaussian"] * 2


def other_settings(given, candidates):
    changed = SETTINGS["gaussian"].model_copy(update={"std": 2.0})
    return given, {**candidates, "gaussian": lambda: build(changed)}


def other_seed(given, candidates):
    return given, {**candidates, "gaussian": lambda: build(SETTINGS["gaussian"], 5)}


def other_predictions(given, candidates):
    values = given.features.predictions.copy()
    values[0, 0, 0] += 1e-6
    return replace(given, features=replace(given.features, predictions=values)), candidates


def other_labels(given, candidates):
    return replace(given, labels=1 - given.labels), candidates


def other_patients(given, candidates):
    return replace(given, patients=given.patients[::-1]), candidates


@pytest.mark.parametrize(
    ("change", "again"),
    [
        (other_settings, {"gaussian"}),
        (other_seed, {"gaussian"}),
        (other_predictions, {"mean", "gaussian"}),
        (other_labels, {"mean", "gaussian"}),
        (other_patients, {"mean", "gaussian"}),
    ],
)
def test_fits_of_other_data_or_settings_are_not_used(tmp_path, counted_fits, change, again):
    given, candidates = data(), builders("mean", "gaussian")
    views(candidates, given, tmp_path)
    counted_fits.clear()
    given, candidates = change(given, candidates)
    assert_equal(views(candidates, given, tmp_path), views(candidates, given))
    counts = {name: counted_fits.count(name) - FITS for name in candidates}  # The second has all.
    assert counts == {name: FITS * (name in again) for name in candidates}


def test_an_error_in_either_lane_ends_both(monkeypatch):
    monkeypatch.setattr(fits, "available_cores", lambda: 2)
    given = data()
    for broken, other in (("mlp", "gaussian"), ("gaussian", "mlp")):
        candidates = builders(broken, other)
        candidate = candidates[broken]()
        monkeypatch.setattr(type(candidate), "fit", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            views(candidates, given)


def test_a_fit_that_was_stopped_is_not_kept(tmp_path):
    given, candidates = data(), builders("mlp")
    stopped = fits._Fits(candidates, given, tmp_path)
    stopped._stop.set()
    stopped._fit(fits.Fit("mlp", (0,)), 1)
    assert list(tmp_path.rglob("without_*")) == []


def test_a_killed_run_repeats_no_finished_fit(tmp_path, counted_fits):
    """Only the fits that were running when the process was killed, one per lane, start again."""
    given, candidates = data(), builders("catboost", "mlp", "sequence", "gaussian")
    code = (
        "import sys; from pathlib import Path; from test_fits import *; "
        "names = ('catboost', 'mlp', 'sequence', 'gaussian'); "
        "views(builders(*names), data(), Path(sys.argv[1]))"
    )
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    code = f"import sys; sys.path[:0] = {folders}; {code}"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    until = time.monotonic() + 120
    while len(kept := list(tmp_path.rglob("without_*.npz"))) < 12 and time.monotonic() < until:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = [path for path in tmp_path.rglob("without_*.npz") if not path.name.startswith(".")]
    assert 12 <= len(kept) < 4 * FITS
    resumed = views(candidates, given, tmp_path)
    assert len(counted_fits) == 4 * FITS - len(kept)
    assert_equal(resumed, views(candidates, given))
