"""Random labels and predictions of slices."""

import numpy as np


def random_case(seed=0, count=200):
    rng = np.random.default_rng(seed)
    return (rng.random((count, 6)) < 0.3).astype(np.uint8), rng.random((count, 6))
