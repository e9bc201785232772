"""Second level: time and memory against the number of slices, and loss against Adam.

    python benchmarks/simplex.py            # up to 80,000 slices, about a minute
    python benchmarks/simplex.py --full     # up to 674,258, the challenge's size

First, windows of 5 slices of 11 models are built (330 features) and the simplex weights of all
six classes are solved to a duality gap below 1e-6. Then the solver and the reference's recipe
(|w| / sum |w|, full-batch Adam at 1e-4, 10,000 steps, class weights x 6/7) run on the same sample.
"""

import argparse
import resource
import time

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from rsna19_kedro.contracts import CLASS_WEIGHTS, CLASSES
from rsna19_kedro.ensemble.combination import SimplexCandidate, SimplexSettings
from rsna19_kedro.ensemble.features import window_features
from rsna19_kedro.ensemble.level1 import FirstLevel
from rsna19_kedro.ensemble.settings import WindowOptions
from rsna19_kedro.evaluation.metrics import class_log_losses

SLICES_PER_STUDY = 34
MODELS = tuple(f"model_{number}" for number in range(11))
EPS = 1e-5
BASE_LOGITS = np.array([-11.0, -7.0, -8.0, -7.5, -6.5])


def plausible(slices: int, seed: int = 0) -> tuple[FirstLevel, np.ndarray]:
    """Predictions of 11 models and labels (N, 6): smooth along the slices, with noise per model."""
    rng = np.random.default_rng(seed)
    studies = -(-slices // SLICES_PER_STUDY)
    shape = (studies, SLICES_PER_STUDY, 5)

    def smooth(width: float) -> np.ndarray:
        noise = gaussian_filter1d(rng.standard_normal(shape, dtype=np.float32), width, axis=1)
        return noise / noise.std()

    truth = BASE_LOGITS + 2.5 * smooth(2.5) + 2.0 * rng.standard_normal((studies, 1, 5))
    labels = truth + 0.5 * rng.logistic(size=shape) > 0
    labels = np.concatenate([labels, labels.any(axis=-1, keepdims=True)], axis=-1)
    predictions = np.empty((studies, SLICES_PER_STUDY, len(MODELS), 6), dtype=np.float32)
    shared = smooth(2.0)
    for index in range(len(MODELS)):
        seen = 1.3 * (truth + 1.2 * shared + rng.uniform(0.8, 2.0) * smooth(0.8))
        types = 1.0 / (1.0 + np.exp(-seen))
        any_type = 1.0 - np.prod(1.0 - types, axis=-1, keepdims=True)
        predictions[:, :, index] = np.concatenate([types, any_type], axis=-1)
    rows = studies * SLICES_PER_STUDY
    level = FirstLevel(
        MODELS,
        predictions.reshape(rows, len(MODELS), 6)[:slices],
        np.repeat(np.arange(studies), SLICES_PER_STUDY)[:slices],
        np.tile(np.arange(SLICES_PER_STUDY), studies)[:slices],
    )
    return level, labels.reshape(rows, 6)[:slices].astype(np.uint8)


def adam(features: np.ndarray, labels: np.ndarray, steps: int = 10_000) -> np.ndarray:
    """Weights (F, 6) of the reference's recipe, starting from equal weights."""
    torch.set_num_threads(1)  # the matrices are too small for several threads
    inputs, targets = torch.from_numpy(features), torch.from_numpy(labels.astype(np.float32))
    scale = torch.tensor(CLASS_WEIGHTS) * 6.0 / 7.0
    raw = torch.full((features.shape[1], 6), 1.0 / features.shape[1], requires_grad=True)
    optimiser = torch.optim.Adam([raw], lr=1e-4)
    for _ in range(steps):
        optimiser.zero_grad()
        weights = raw.abs() / raw.abs().sum(dim=0)
        prediction = (inputs @ weights).clamp(EPS, 1 - EPS)
        loss = torch.nn.functional.binary_cross_entropy(prediction, targets, weight=scale)
        loss.backward()
        optimiser.step()
    final = raw.detach().abs().double()
    return (final / final.sum(dim=0)).numpy()


def scale_up(sizes: list[int]) -> None:
    """Print time and memory for each number of slices."""
    print("  slices  features_s  simplex_s  largest_gap  peak_GB")
    for size in sizes:
        level, labels = plausible(size)
        start = time.perf_counter()
        window_features(level, WindowOptions(radius=2))
        built = time.perf_counter() - start
        candidate = SimplexCandidate(SimplexSettings(eps=EPS))
        start = time.perf_counter()
        candidate.fit(level, labels, np.zeros(size))
        solved = time.perf_counter() - start
        gap = max(part["gap"] for part in candidate.certificates.values())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{size:8d}  {built:10.2f}  {solved:9.1f}  {gap:11.1e}  {peak:7.2f}", flush=True)


def against_adam(size: int) -> None:
    """Print the losses of both methods on one sample."""
    level, labels = plausible(size)
    candidate = SimplexCandidate(SimplexSettings(eps=EPS))
    start = time.perf_counter()
    candidate.fit(level, labels, np.zeros(size))
    solved = time.perf_counter() - start
    features = window_features(level, WindowOptions(radius=2))
    start = time.perf_counter()
    weights = adam(features, labels)
    stepped = time.perf_counter() - start
    ours = class_log_losses(labels, candidate.predict(level), EPS)
    theirs = class_log_losses(labels, EPS + (1 - 2 * EPS) * (features @ weights), EPS)
    print(f"\n{size} slices: simplex {solved:.1f} s, 10,000 Adam steps {stepped:.1f} s")
    print(f"{'class':18s} {'simplex':>9s} {'Adam':>9s}")
    for name, mine, other in zip(CLASSES, ours, theirs, strict=True):
        print(f"{name:18s} {mine:9.6f} {other:9.6f}")
    assert (ours <= theirs + 1e-6).all(), "Adam found a lower loss: the certificate is wrong"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="up to the challenge's 674,258 slices")
    parser.add_argument("--adam-slices", type=int, default=5000)
    arguments = parser.parse_args()
    scale_up([5_000, 20_000, 80_000, *([320_000, 674_258] if arguments.full else [])])
    against_adam(arguments.adam_slices)
