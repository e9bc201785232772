"""Whole-study prediction on one CPU core: the engine in fp32 and bf16 against plain PyTorch.

Plain PyTorch is the network as it was built: contiguous memory, batch norms not folded. The three
predict the same synthetic study in turn; times are CPU seconds of one thread, so that other
processes on the machine matter little. Random weights, scaled so that the probabilities are
spread like those of a trained network.

Run: ``python benchmarks/prediction_speed.py [--model NAME ...] [--slices 10] [--repeats 3]``
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
import yaml

from rsna19_kedro.networks.build import build_network
from rsna19_kedro.networks.checkpoint import Checkpoint
from rsna19_kedro.networks.input_size import InputSize
from rsna19_kedro.networks.network_input import look_up
from rsna19_kedro.networks.slice_network import Combiner
from rsna19_kedro.networks.whole_study import whole_study_maps
from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.prediction.engine import Engine, Study
from rsna19_kedro.prediction.settings import PredictionSettings

RECIPES = Path(__file__).parents[1] / "conf/base/parameters/models"
STUDY_SLICES = 36
CROP_PX = 384
LUT = ((torch.arange(-400, 1001) - 50) / 30).clamp(-1, 1)


def random_checkpoint(name: str, study: Study) -> Checkpoint:
    """Return a model with random weights that behaves like a trained one on the study.

    Its batch norms have seen 8 batches of crops, and the logits of the study have a mean of -2
    and a standard deviation of 2.
    """
    torch.manual_seed(0)
    network = build_network(ZOO[name])
    slices = torch.arange(ZOO[name].window) % len(study.hu)
    inputs = look_up(torch.from_numpy(study.hu), LUT, InputSize(crop_px=400, resize_px=None))
    for module in network.modules():
        if isinstance(module, Combiner):
            torch.nn.init.normal_(module.conv.weight, std=0.01)
    with torch.no_grad():
        for _ in range(8):
            places = torch.randint(0, 400 - 96, (4, 2)).tolist()
            crops = [inputs[slices, row : row + 96, col : col + 96] for row, col in places]
            network.train()(torch.stack(crops))
        (maps,) = whole_study_maps(network.eval(), [inputs[None, :, 8:-8, 8:-8]], float(LUT[0]))
        logits = network.classify(maps).logits
        head = network.head if isinstance(network.head, torch.nn.Linear) else network.head[-1]
        scale = 2 / logits.std()
        head.weight *= scale
        head.bias.copy_(head.bias * scale - 2 - scale * logits.mean())
    return Checkpoint(ZOO[name], network.state_dict(), LUT, CROP_PX, CROP_PX)


def synthetic_study(slices: int) -> Study:
    """Return an ellipse of 35 HU with noise and smooth spots in air."""
    rng = np.random.default_rng(0)
    rows, cols = np.mgrid[-1:1:400j, -1:1:400j]
    spots = rng.normal(0, 15, (slices, 25, 25)).repeat(16, 1).repeat(16, 2)
    hu = np.where(
        rows**2 + (1.3 * cols) ** 2 < 0.8, 35 + spots + rng.normal(0, 4, spots.shape), -1000
    )
    return Study("synthetic", hu.astype(np.int16))


def stacks(name: str, slices: int) -> int:
    """Return the number of stacks that the encoder sees, see ``whole_study``."""
    spec = ZOO[name]
    reach = (spec.taps // 2) * spec.dilation
    mixed = min(spec.channels // 2, reach)
    return slices + 2 * mixed + (reach > mixed)


def variants(name: str) -> int:
    """Return the number of test-time augmentations of the model's recipe."""
    recipe = yaml.safe_load((RECIPES / f"{name}.yml").read_text())
    return len(recipe[name]["variants"])


def predict(engine: Engine, study: Study) -> tuple[float, np.ndarray]:
    """CPU seconds and probabilities."""
    started = time.process_time()
    (prediction,) = engine.predict([study])
    return time.process_time() - started, prediction.probabilities


def main() -> None:
    """Print a table with one row per model, and the median over the models."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    reference = [name for name, spec in ZOO.items() if spec.reference]
    parser.add_argument("--model", nargs="+", default=reference, choices=list(ZOO))
    parser.add_argument("--slices", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    study = synthetic_study(options.slices)
    print("| model | plain, s per slice | fp32 | difference | bf16 | difference |")
    print("|---|---|---|---|---|---|")
    speeds: dict[str, list[float]] = {"fp32": [], "bf16": []}
    whole: dict[str, list[float]] = {"fp32": [], "bf16": []}
    for name in options.model:
        checkpoint = random_checkpoint(name, study)
        engines = {
            short: Engine.of(
                checkpoint, ("normal",), PredictionSettings(accelerator="cpu", precision=short)
            )
            for short in speeds
        }
        plain = replace(engines["fp32"], network=checkpoint.network())
        befores: list[float] = []
        ratios: dict[str, list[float]] = {short: [] for short in speeds}
        difference = {}
        for _ in range(options.repeats):
            before, expected = predict(plain, study)
            befores.append(before)
            for short, engine in engines.items():
                seconds, probabilities = predict(engine, study)
                ratios[short].append(before / seconds)
                difference[short] = np.abs(probabilities - expected).max()
        cells = [name, f"{median(befores) / options.slices:.2f}"]
        for short, of_short in ratios.items():
            speeds[short].append(median(of_short))
            per_stack = median(befores) / median(of_short) / stacks(name, options.slices)
            whole[short].append(per_stack * stacks(name, STUDY_SLICES))
            span = f"{min(of_short):.2f} to {max(of_short):.2f}"
            cells += [f"{median(of_short):.2f} ({span})", f"{difference[short]:.0e}"]
        print(f"| {' | '.join(cells)} |", flush=True)
    medians = [f"{short} {median(values):.2f}" for short, values in speeds.items()]
    print(f"Median over the models: {', '.join(medians)} times as fast as plain PyTorch")
    for short, seconds in whole.items():
        full = sum(s * variants(name) for s, name in zip(seconds, options.model, strict=True))
        print(
            f"{STUDY_SLICES} slices in {short}, from these times, on one core: the first "
            f"model without test-time augmentation {seconds[0]:.1f} s; all with it {full:.0f} s"
        )


if __name__ == "__main__":
    main()
