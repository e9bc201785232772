"""Steps per second of a whole training against the same network on tensors already on the device.

The bare loop: forward, loss, backward, clip, optimiser, on one batch of network input that stays
on the device. This project's: ``train_model`` as the training node calls it, with reading,
look-up table, augmentation, crop, schedule and progress, without validation. Same network, batch,
optimiser and precision; alternating in one process. Both read the loss of a step while the next
one is computed.

The first ``--warm-up`` steps do not count: their batches were read while the first step was
prepared. Slices are repeated so that no epoch ends before the last step. Two statistics: the
steps divided by their total time, and the median time between steps, which ignores rare stalls.

On a CUDA device also: bf16 against fp32, channels last against contiguous, torch.compile against
eager, images per second, and the share of the GPU's peak (``--peak-tflops``).

Run: ``python benchmarks/training_step.py [--volumes FOLDER] [--model NAME] [--batch N]`` after the
demo or any run of ``volume_prep`` and ``folds``.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.networks.build import build_network
from rsna19_kedro.networks.loss import class_weights, weighted_bce
from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.training import loop
from rsna19_kedro.training.batches import reader_threads
from rsna19_kedro.training.fit import train_model
from rsna19_kedro.training.job import TrainingJob, split_fold
from rsna19_kedro.training.recipe import Recipe, TrainingSettings
from rsna19_kedro.training.report import TrainingReport
from rsna19_kedro.training.samples import FoldSlices, SliceTable

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Times(NamedTuple):
    """Seconds per step of a run.

    Attributes:
        mean: Total time divided by the number of steps.
        median: Median time between the ends of successive steps.
    """

    mean: float
    median: float


def steady(ends: list[float], warm_up: int) -> Times:
    """Seconds per step, from the ends of all steps, without the first ``warm_up``."""
    gaps = np.diff(ends[warm_up:])
    return Times(float(gaps.mean()), float(np.median(gaps)))


def read_ahead(readers: int | None) -> int:
    """Number of batches that the threads may have read before the first step ends; at least 2."""
    return max(2, 2 * reader_threads(readers, 1, gpu=DEVICE.type == "cuda") + 1)


def bare(options: argparse.Namespace, settings: TrainingSettings) -> Times:
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
    ends: list[float] = []
    pending: Tensor | None = None
    for _ in range(options.warm_up + options.steps + 2):
        with torch.autocast(
            DEVICE.type, torch.bfloat16, enabled=settings.precision == "bf16-mixed"
        ):
            logits = network(slices)
        loss = weighted_bce(logits, labels, weights)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 100)
        optimizer.step()
        if pending is not None:
            float(pending)  # Waits for the step before, as the training does.
            ends.append(time.perf_counter())
        pending = loss.detach()
    return steady(ends, options.warm_up)


class _Timed(TrainingReport):
    ends: list[float] = []  # noqa: RUF012

    def batch(self, done: int, rate: float, loss: float) -> None:
        """Note the time when the loss of a step is known."""
        self.ends.append(time.perf_counter())
        super().batch(done, rate, loss)


def step_seconds(
    recipe: Recipe, settings: TrainingSettings, volumes: Path, warm_up: int
) -> tuple[Times, str]:
    """Seconds per step of a training of fold 0 as the node runs it, and its precision.

    Args:
        recipe: The recipe; the steps of its main phase are two more than those that count.
        settings: Hardware settings.
        volumes: Prepared volumes, next to their index, folds and masks.
        warm_up: First steps that do not count.
    """
    data = volumes.parent
    folds = pd.read_parquet(data / "folds.parquet")
    index = pd.read_parquet(data / "volume_index.parquet")
    scored = folds.loc[folds.fold == 0, "study_id"].min()  # One study is enough to validate.
    train, validation = split_fold(folds, index, 0, folds[folds.study_id == scored])
    with_masks = ZOO[recipe.model].decoder and (data / "masks").is_dir()
    masks = VolumeStore(data / "masks") if with_masks else None
    main = recipe.phases.main
    assert main is not None
    assert main.steps is not None
    train = _repeated(train, -(-main.steps * main.batch // len(train.study_ids)))
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
    # The last step is not followed by another one: its loss is read at once.
    return steady(_Timed.ends[:-1], warm_up), str(job.precision)


def _repeated(table: SliceTable, times: int) -> SliceTable:
    """Repeat the studies of a table."""
    offsets = np.repeat(np.arange(times) * len(table.study_ids), len(table))
    return SliceTable(
        table.study_ids * times,
        np.tile(table.study_slices, times),
        np.tile(table.studies, times) + offsets,
        np.tile(table.slice_nums, times),
        np.tile(table.labels, (times, 1)),
    )


def whole(options: argparse.Namespace, settings: TrainingSettings) -> Times:
    """Seconds per step of the training as the node runs it."""
    steps = options.warm_up + options.steps + 2
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
                    **{"learning_rate": 1e-4, "batch": options.batch, "steps": steps},
                    "gradient_clip": 100,
                }
            },
            "variants": ["normal"],
        }
    )
    return step_seconds(recipe, settings, options.volumes, options.warm_up)[0]


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
    parser.add_argument("--steps", type=int, default=12, help="steps that count")
    parser.add_argument("--warm-up", type=int, help="default: the batches read ahead")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--readers", type=int)
    parser.add_argument("--precision", default="32-true", choices=("32-true", "bf16-mixed"))
    parser.add_argument("--peak-tflops", type=float, help="dense bf16 peak of the GPU")
    options = parser.parse_args()
    if options.warm_up is None:
        options.warm_up = read_ahead(options.readers)
    settings = TrainingSettings(readers=options.readers, precision=options.precision)
    pairs = [(bare(options, settings), whole(options, settings)) for _ in range(options.repeats)]
    print(f"{options.model}, batch {options.batch}, {options.crop} px, {DEVICE.type}")
    print(f"{'steps per second':20}{'bare network':>14}{'whole training':>16}{'share':>9}")
    for name in Times._fields:
        seconds = np.array([[getattr(times, name) for times in pair] for pair in pairs])
        bare_s, whole_s = np.median(seconds, axis=0)
        shares = 100 * seconds[:, 0] / seconds[:, 1]
        print(
            f"by {name + ' time':17}{1 / bare_s:14.3f}{1 / whole_s:16.3f}"
            f"{np.median(shares):7.1f} % ({shares.min():.1f} to {shares.max():.1f})"
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
        step = bare(options, settings.model_copy(update=change)).mean
        peak = options.peak_tflops
        share = f", {work / step / peak / 1e10:.1f} % of the peak" if peak else ""
        print(f"{name:30} {options.batch / step:8.1f} images per second{share}")


if __name__ == "__main__":
    main()
