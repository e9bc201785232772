"""Self-test of the public detector on phantoms."""

import time
from typing import NamedTuple

import numpy as np

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.detector.detector import Detected, Detector
from rsna19_kedro.phantoms import Acquisition, acquire, add_haemorrhages, make_head

_SLICES_MM = (0.0, 5.0, 10.0)
_SAME = 1e-5


class SelfTest(NamedTuple):
    """Outcome of a self-test.

    Attributes:
        healthy: Probability of ``any`` of a synthetic head without haemorrhage.
        bleeding: The same head with an intraparenchymal haemorrhage.
        repeatable: Whether the same slices gave the same probabilities twice.
        seconds_per_slice: Time per slice.
    """

    healthy: float
    bleeding: float
    repeatable: bool
    seconds_per_slice: float


def self_test(detector: Detector) -> SelfTest:
    """Predict three slices of a synthetic head, with and without a haemorrhage."""
    head = make_head(seed=1)
    bleeding = add_haemorrhages(np.random.default_rng(1), head, ["intraparenchymal"])
    scans = [
        list(np.rint(acquire(each, Acquisition(_SLICES_MM), seed=1).hu))
        for each in (head, bleeding)
    ]
    start = time.perf_counter()
    found: list[Detected] = [detector.predict(scan) for scan in scans]
    seconds = (time.perf_counter() - start) / sum(map(len, scans))
    again = detector.predict(scans[0])
    any_class = CLASSES.index("any")
    return SelfTest(
        float(found[0].series[any_class]),
        float(found[1].series[any_class]),
        bool(np.abs(again.slices - found[0].slices).max() <= _SAME),
        seconds,
    )
