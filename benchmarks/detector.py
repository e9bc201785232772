"""Seconds per study of the public detector on this machine, in fp32 and bf16, with random weights.

The networks have random weights in the published form, since time does not depend on their values.
Prints the median over the repeats, and the largest difference of a probability between precisions.

Run: ``python benchmarks/detector.py [--slices 36] [--repeats 3]``
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from rsna19_kedro.detector.detector import Detector
from rsna19_kedro.detector.networks import SequenceNetwork, SliceClassifier
from rsna19_kedro.detector.release import Release
from rsna19_kedro.phantoms import Acquisition, acquire, make_head


def main() -> None:
    """Print one row per precision; precisions are measured in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=36)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    classifier, sequence = SliceClassifier().eval(), SequenceNetwork().eval()
    for pool in (sequence.sequence_pool, sequence.mil_pool):
        torch.nn.init.normal_(pool.classifier_weight, std=0.05)
        torch.nn.init.zeros_(pool.classifier_bias)
    release = Release(Path(), "0" * 64, random=True)
    positions = tuple(5.0 * number - 60 for number in range(options.slices))
    study = list(np.rint(acquire(make_head(1), Acquisition(positions), seed=1).hu))
    seconds: dict[str, list[float]] = {"fp32": [], "bf16": []}
    found = {}
    for _ in range(options.repeats):
        for name, half in (("fp32", None), ("bf16", torch.bfloat16)):
            detector = Detector(release, classifier.to(device), sequence.to(device), half)
            start = time.perf_counter()
            found[name] = detector.predict(study)
            seconds[name].append(time.perf_counter() - start)
    for name, values in seconds.items():
        low, high = min(values), max(values)
        print(f"{name}: {statistics.median(values):.1f} s ({low:.1f} to {high:.1f}), {device.type}")
    print(f"largest difference: {np.abs(found['fp32'].slices - found['bf16'].slices).max():.1e}")


if __name__ == "__main__":
    main()
