"""Operations of every full recipe, and estimated hours by GPU model: computed, not measured.

Floating-point operations (two per multiply-add) of all forward and backward passes of one fold,
counted on PyTorch's meta device; a backward pass counts twice, and not at all with a frozen
encoder. Hours assume a third of the GPU's dense peak: fp32 for T4, TF32 for the others.

Run: ``python benchmarks/training_flops.py``
"""

import torch
from omegaconf import OmegaConf
from torch.utils.flop_counter import FlopCounterMode

from rsna19_kedro.networks.build import build_network
from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.training.plan import plan_phase
from rsna19_kedro.training.recipe import Recipe
from rsna19_kedro.training.schedules import is_frozen

SLICES, STUDIES = 540_000, 15_624
PEAK_TFLOPS = {"T4": 8.1, "RTX 3090": 35.6, "A100": 156, "H100": 495}
SHARE = 1 / 3


def forward_flops(network: torch.nn.Module, slices: int, side_px: int) -> int:
    """Operations per forward pass of one sample."""
    with FlopCounterMode(display=False) as counter:
        network(torch.empty(1, slices, side_px, side_px, device="meta"))
    return counter.get_total_flops()


def recipe_flops(name: str) -> float:
    """Operations of all steps of a recipe, for one fold."""
    config = OmegaConf.load(f"conf/base/parameters/models/{name}.yml")[name]
    config.seed = 0
    recipe, spec = Recipe.model_validate(OmegaConf.to_container(config)), ZOO[name]
    with torch.device("meta"):
        network = build_network(spec).eval()
    side = recipe.input.crop_px
    single = forward_flops(network, spec.channels, side)
    whole = forward_flops(network, recipe.run_slices or spec.window, side)
    total = 0.0
    for _, phase in recipe.phases.in_order():
        for unit in plan_phase(phase, STUDIES if recipe.run_slices else SLICES):
            sample = single if unit.single_slice else whole
            frozen = sum(is_frozen(phase, unit.first_step + batch) for batch in range(unit.batches))
            passes = 3 * unit.batches - 2 * frozen
            total += float(passes * unit.batch * sample)
    return total


def main() -> None:
    """Print a Markdown table."""
    print("| model, one fold | operations | " + " | ".join(PEAK_TFLOPS) + " |")
    print("|---|---|" + "---|" * len(PEAK_TFLOPS))
    sums = 0.0
    for name in ZOO:
        work = recipe_flops(name)
        sums += work
        print(row(f"`{name}`", work))
    print(row("all thirteen, one fold", sums))
    print(row("all thirteen, five folds", 5 * sums))


def row(title: str, work: float) -> str:
    """One line of the table."""
    hours = [work / (peak * 1e12 * SHARE) / 3600 for peak in PEAK_TFLOPS.values()]
    cells = " | ".join(f"{h:.1f} h" if h < 100 else f"{h / 24:.0f} d" for h in hours)
    return f"| {title} | {work:.1e} | {cells} |"


if __name__ == "__main__":
    main()
