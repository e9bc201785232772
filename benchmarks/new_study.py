"""Time of ``new_study`` by step, its start-up time, and the possible gain by overlapping steps.

Runs the command on the models under ``data/06_models``. Start-up is the total time without the
steps (imports, Kedro, shutdown). The last number is the sum of all steps divided by the longest:
the largest possible speed-up by overlapping them.

Run: ``python benchmarks/new_study.py SOURCE [--params fast=true] [--repeats 5]``
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import time

STEP = re.compile(r"\d+/\d+ (\w+), ([\d.]+) s")


def run(source: str, params: str) -> tuple[float, dict[str, float]]:
    """Seconds of the whole run and of each step."""
    command = [sys.executable, "-m", "kedro", "run", "--pipelines", "new_study", "--params"]
    started = time.perf_counter()
    done = subprocess.run(
        [*command, ",".join(filter(None, [f"source={source}", params]))],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    whole = time.perf_counter() - started
    return whole, {name: float(value) for name, value in STEP.findall(done.stdout + done.stderr)}


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("--params", default="fast=true")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    runs = [run(options.source, options.params) for _ in range(options.repeats)]
    for name in runs[0][1]:
        print(f"{name}: {statistics.median(steps[name] for _, steps in runs):.1f} s")
    starts = [whole - sum(steps.values()) for whole, steps in runs]
    print(f"start-up: {statistics.median(starts):.1f} s ({min(starts):.1f} to {max(starts):.1f})")
    ratios = [sum(steps.values()) / max(steps.values()) for _, steps in runs]
    print(f"all steps / longest step: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
