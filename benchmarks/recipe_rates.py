"""Steps per second of each recipe's main phase on this device, and hours for one fold.

Trains each model for some steps as its node does (reading, look-up table, augmentation, progress),
with its own crop, batch and augmentation, an unfrozen encoder and random weights, on windows of
several slices. Hours: the floating-point operations of the whole recipe (``training_flops.py``) at
the measured operations per second. With ``--peak-tflops``, also the share of the device's peak.

Run: ``python benchmarks/recipe_rates.py [--volumes FOLDER] [--models NAME ...]`` in the project,
after ``volume_prep`` and ``folds`` with slices of 400 pixels (the demo's are).
"""

import argparse
from pathlib import Path

import torch
from omegaconf import OmegaConf
from torch.utils.flop_counter import FlopCounterMode
from training_flops import recipe_flops
from training_step import DEVICE, read_ahead, step_seconds

from rsna19_kedro.networks.build import build_network
from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.training.recipe import Recipe, TrainingSettings


def short_recipe(name: str, options: argparse.Namespace) -> Recipe:
    """The recipe with only a main phase of a few steps."""
    config = OmegaConf.load(f"conf/base/parameters/models/{name}.yml")[name]
    config.seed = 0
    given = OmegaConf.to_container(config)
    assert isinstance(given, dict)
    main = given["phases"]["main"]
    main |= {"epochs": None, "steps": options.warm_up + options.steps + 2, "frozen_steps": 0}
    main |= {"single_slice_epochs": 0, "validations_per_epoch": 1}
    main |= {"epochs_per_validation": 1}
    if options.batch:
        main["batch"] = options.batch
    if options.crop:
        given["input"] = {"crop_px": options.crop}
    return Recipe.model_validate(given | {"initial_weights": None, "phases": {"main": main}})


def step_flops(recipe: Recipe) -> float:
    """Floating-point operations per step, two per multiply-add."""
    spec = ZOO[recipe.model]
    with torch.device("meta"):
        network = build_network(spec)
    length, side = recipe.run_slices or spec.window, recipe.input.network_px
    with FlopCounterMode(display=False) as counter:
        output = network.outputs(torch.empty(2, length, side, side, device="meta"))
        total = output.logits.sum()
        (total if output.masks is None else total + output.masks.sum()).backward()
    return counter.get_total_flops() / 2 * recipe.phases.main.batch


def main() -> None:
    """Print a Markdown table, row by row."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--volumes", type=Path, default=Path("data/03_primary/volumes"))
    parser.add_argument("--models", nargs="+", default=list(ZOO), choices=ZOO, metavar="NAME")
    parser.add_argument("--steps", type=int, default=30, help="steps that count")
    parser.add_argument("--warm-up", type=int, help="default: the batches read ahead")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--peak-tflops", type=float, help="dense peak of the device")
    parser.add_argument("--batch", type=int, help="override the batch size of the recipe")
    parser.add_argument("--crop", type=int, help="override the crop size of the recipe")
    options = parser.parse_args()
    if options.warm_up is None:
        options.warm_up = read_ahead(None)
    settings = TrainingSettings(precision=options.precision)
    print(f"Device: {torch.cuda.get_device_name() if DEVICE.type == 'cuda' else 'CPU'}")
    print("| model | batch | precision | steps per second | share of the peak | one fold |")
    print("|---|---|---|---|---|---|")
    for name in options.models:
        recipe = short_recipe(name, options)
        times, precision = step_seconds(recipe, settings, options.volumes, options.warm_up)
        seconds = times.mean
        rate = step_flops(recipe) / seconds
        share = f"{rate / options.peak_tflops / 1e10:.1f} %" if options.peak_tflops else ""
        hours = recipe_flops(name) / rate / 3600
        batch = recipe.phases.main.batch
        print(
            f"| `{name}` | {batch} | {precision} | {1 / seconds:.2f} | {share} | {hours:.1f} h |",
            flush=True,
        )


if __name__ == "__main__":
    main()
