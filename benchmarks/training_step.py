"""Steps per second of a whole training against the same network on tensors already on the device.

The bare loop: forward, loss, backward, clip, optimiser, on one batch of network input that stays
on the device. This project's: ``train_model`` as the training node calls it, with reading,
look-up table, augmentation, crop, schedule and progress, without validation. Same network, batch,
optimiser and precision; alternating in one process.

On a CUDA device also: bf16 against fp32, channels last against contiguous, torch.compile against
eager, images per second, and the share of the GPU's peak (``--peak-tflops``).

Run: ``python benchmarks/training_step.py [--volumes FOLDER] [--model NAME] [--batch N]`` after the
demo or any run of ``volume_prep`` and ``folds``.
"""

import argparse
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.networks.build import build_network
from rsna19_kedro.networks.loss import class_weights, weighted_bce
from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.training import loop
from rsna19_kedro.training.fit import train_model
from rsna19_kedro.training.job import TrainingJob, split_fold
from rsna19_kedro.training.recipe import Recipe, TrainingSettings
from rsna19_kedro.training.report import TrainingReport
from rsna19_kedro.training.samples import FoldSlices

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _wait() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def median_after_warm_up(ends: list[float]) -> float:
    """Median time between the ends of successive steps, without the first two."""
    gaps = [later - earlier for earlier, later in pairwise(ends[2:])]
    return statistics.median(gaps)


def bare(options: argparse.Namespace, settings: TrainingSettings) -> float:
    """Seconds per step of the network alone."""
    spec = ZOO[options.model]
    network = build_network(spec).to(DEVICE).train()
    if settings.channels_last and DEVICE.type == "cuda":
        network.encoder.to(memory_format=torch.channels_last)
    if settings.compile:
        network.encoder.compile()
    optimizer = torch.optim.RAdam(network.parameters(), lr=1e-4, decoupled_weight_decay=True)
    slices = torch.rand(options.batch, spec.window, options.crop, options.crop, device=DEVICE) - 0.5
    labels = torch.rand(options.batch, 1, 6, device=DEVICE).round()
    weights = class_weights().to(DEVICE)
    ends = []
    for _ in range(options.steps):
        with torch.autocast(
            DEVICE.type, torch.bfloat16, enabled=settings.precision == "bf16-mixed"
        ):
            logits = network(slices)
        loss = weighted_bce(logits, labels, weights)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 100)
        optimizer.step()
        _wait()
        ends.append(time.perf_counter())
    return median_after_warm_up(ends)


class _Timed(TrainingReport):
    ends: list[float] = []  # noqa: RUF012

    def batch(self, done: int, rate: float, loss: float) -> None:
        """Note the time when the loss of a step is known."""
        self.ends.append(time.perf_counter())
        super().batch(done, rate, loss)


def step_seconds(recipe: Recipe, settings: TrainingSettings, volumes: Path) -> tuple[float, str]:
    """Median seconds per step of a training of fold 0 as the node runs it, and its precision.

    Args:
        recipe: The recipe.
        settings: Hardware settings.
        volumes: Prepared volumes, next to their index, folds and masks.
    """
    data = volumes.parent
    folds = pd.read_parquet(data / "folds.parquet")
    index = pd.read_parquet(data / "volume_index.parquet")
    scored = folds.loc[folds.fold == 0, "study_id"].min()  # One study is enough to validate.
    train, validation = split_fold(folds, index, 0, folds[folds.study_id == scored])
    with_masks = ZOO[recipe.model].decoder and (data / "masks").is_dir()
    masks = VolumeStore(data / "masks") if with_masks else None
    _Timed.ends = []
    original, loop.TrainingReport = loop.TrainingReport, _Timed  # type: ignore[misc]
    try:
        with tempfile.TemporaryDirectory() as resume:
            slices = FoldSlices(VolumeStore(volumes), train, validation, masks)
            lut = torch.linspace(-1, 1, 1401)
            job = TrainingJob(recipe, settings, 0, slices, lut, Path(resume))
            train_model(job)
    finally:
        loop.TrainingReport = original  # type: ignore[misc]
    # The loop notes the end of a unit twice.
    return median_after_warm_up(_Timed.ends[:-1]), str(job.precision)


def whole(options: argparse.Namespace, settings: TrainingSettings) -> float:
    """Seconds per step of the training as the node runs it."""
    recipe = Recipe.model_validate(
        {
            "model": options.model,
            "input": {"crop_px": options.crop},
            "augmentation": {
                **{"flip_horizontal": 0.5, "flip_vertical": 0.5, "quarter_turns": 0.5},
                **{"affine": 0.8, "shift": 0.06, "scale": 0.05, "rotate_deg": 30},
            },
            "initial_weights": None,
            "phases": {
                "main": {
                    **{"learning_rate": 1e-4, "batch": options.batch, "steps": options.steps},
                    "gradient_clip": 100,
                }
            },
            "variants": ["normal"],
        }
    )
    return step_seconds(recipe, settings, options.volumes)[0]


def flops(options: argparse.Namespace) -> float:
    """Floating-point operations of one forward and backward pass of a sample."""
    spec = ZOO[options.model]
    network = build_network(spec)
    with FlopCounterMode(display=False) as counter:
        network(torch.rand(2, spec.window, options.crop, options.crop)).sum().backward()
    return counter.get_total_flops() / 2


def main() -> None:
    """Print the comparison, and on a GPU the effect of precision and memory layout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=Path, default=Path("data/03_primary/volumes"))
    parser.add_argument("--model", default="resnet18_400", choices=ZOO)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--crop", type=int, default=400)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--readers", type=int)
    parser.add_argument("--precision", default="32-true", choices=("32-true", "bf16-mixed"))
    parser.add_argument("--peak-tflops", type=float, help="dense bf16 peak of the GPU")
    options = parser.parse_args()
    if options.steps < 6:
        parser.error("--steps: at least 6, because the first two and the last do not count")
    settings = TrainingSettings(readers=options.readers, precision=options.precision)
    pairs = [(bare(options, settings), whole(options, settings)) for _ in range(options.repeats)]
    ratios = [bare_s / whole_s for bare_s, whole_s in pairs]
    print(f"{options.model}, batch {options.batch}, {options.crop} px, {DEVICE.type}")
    print(f"bare network   {1 / statistics.median(a for a, _ in pairs):8.3f} steps per second")
    print(f"whole training {1 / statistics.median(b for _, b in pairs):8.3f} steps per second")
    print(
        f"share          {100 * statistics.median(ratios):8.1f} % "
        f"({100 * min(ratios):.1f} to {100 * max(ratios):.1f})"
    )
    if DEVICE.type != "cuda":
        return
    work = flops(options) * options.batch
    for name, change in {
        "fp32, contiguous": {"channels_last": False},
        "fp32, channels last": {},
        "bf16, contiguous": {"precision": "bf16-mixed", "channels_last": False},
        "bf16, channels last": {"precision": "bf16-mixed"},
        "bf16, channels last, compiled": {"precision": "bf16-mixed", "compile": True},
    }.items():
        step = bare(options, settings.model_copy(update=change))
        peak = options.peak_tflops
        share = f", {work / step / peak / 1e10:.1f} % of the peak" if peak else ""
        print(f"{name:30} {options.batch / step:8.1f} images per second{share}")


if __name__ == "__main__":
    main()
