"""Training beside busy processes: how the threads of OpenMP should wait for each other.

    python benchmarks/shared_machine.py --busy 0 2 --rounds 3

Each way to wait runs in a separate process, one after the other, in several rounds: a few steps of
a ResNet-18 on one thread per core, alone (``--busy 0``) and beside processes that only count.
Other work on the machine changes the seconds of all ways, so compare them within a round.

- default: libgomp spins 300,000 times before a thread sleeps
- passive: ``OMP_WAIT_POLICY=passive``, threads sleep at once
- spin N: ``GOMP_SPINCOUNT``; ``kedro run`` sets 10000 unless the user chose otherwise
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import time
from statistics import median

WAYS = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    **{f"spin {count}": {"GOMP_SPINCOUNT": str(count)} for count in (1000, 3000, 10000, 30000)},
}


def train(steps: int) -> None:
    """Print the seconds of some training steps."""
    import torch
    from torchvision.models import resnet18

    network = resnet18(num_classes=6)
    optimiser = torch.optim.SGD(network.parameters(), 0.01)
    inputs = torch.randn(4, 3, 160, 160)
    for step in range(steps + 1):
        if step == 1:  # The first step is slower.
            start = time.perf_counter()
        optimiser.zero_grad()
        network(inputs).square().sum().backward()
        optimiser.step()
    print(time.perf_counter() - start)


def spin() -> None:
    """Use a core until the process is killed."""
    while True:
        pass


def measure(way: dict[str, str], steps: int) -> float:
    """Seconds of the steps in a separate process."""
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, __file__, "--steps", str(steps), "--child"]
    run = subprocess.run(command, env={**kept, **way}, capture_output=True, text=True, check=True)
    return float(run.stdout)


def main() -> None:
    """Print the seconds of each way, and the ratio to the first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 2], help="busy processes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        train(options.steps)
        return
    for number in options.busy:
        others = [multiprocessing.Process(target=spin, daemon=True) for _ in range(number)]
        for process in others:
            process.start()
        rounds = [
            {name: measure(WAYS[name], options.steps) for name in options.ways}
            for _ in range(options.rounds)
        ]
        for process in others:
            process.kill()
        first = options.ways[0]
        for name in options.ways:
            seconds = ", ".join(f"{times[name]:.1f}" for times in rounds)
            ratio = median(times[name] / times[first] for times in rounds)
            print(f"{number} busy processes, {name:10}: {seconds} s; median ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
