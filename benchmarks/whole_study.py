"""Whole-study prediction against prediction slice by slice, each slice with its own window.

Same network, device and number of slices per batch of the encoder; a study of 36 slices of
400 x 400 pixels, random weights, fp32. Slice by slice is the usual way: the encoder processes
every slice of every window.

Run: ``python benchmarks/whole_study.py [--model NAME ...] [--slices 36] [--crop 400]``
"""

import argparse
import statistics
import time

import torch

from rsna19_kedro.networks.build import build_network
from rsna19_kedro.networks.slice_network import Combiner, SliceNetwork
from rsna19_kedro.networks.whole_study import whole_study_maps
from rsna19_kedro.networks.zoo import ZOO

AIR = -1.0


def slice_by_slice(network: SliceNetwork, study: torch.Tensor, batch: int) -> torch.Tensor:
    """Logits ``(1, S, 6)``, a batch of windows at a time."""
    spec = network.spec
    half = spec.window // 2
    padded = torch.nn.functional.pad(study, (0, 0, 0, 0, half, half), value=AIR)
    windows = padded[0].unfold(0, spec.window, 1).movedim(-1, 1)
    together = max(1, batch // spec.taps)
    return torch.cat([network(part)[:, 0] for part in windows.split(together)])[None]


def main() -> None:
    """Print the ratio of times and the largest difference of a probability."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", default=["resnet18_400", "clf2Dc_resnet34_3x3"])
    parser.add_argument("--slices", type=int, default=36)
    parser.add_argument("--crop", type=int, default=400)
    parser.add_argument("--batch", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for name in options.model:
        torch.manual_seed(0)
        network = build_network(ZOO[name]).to(device)
        for module in network.modules():
            if isinstance(module, Combiner):
                torch.nn.init.normal_(module.conv.weight, std=0.01)
        with torch.no_grad():  # Without batch norm statistics all probabilities are 0 or 1.
            for _ in range(30):
                network.train()(torch.randn(4, ZOO[name].window, 96, 96, device=device))
        network.eval()
        study = torch.randn(1, options.slices, options.crop, options.crop, device=device)
        ratios = []
        with torch.inference_mode():
            for _ in range(options.repeats):
                start = time.perf_counter()
                (maps,) = whole_study_maps(network, [study], AIR, batch_slices=options.batch)
                whole = network.classify(maps).logits.cpu()
                middle = time.perf_counter()
                windowed = slice_by_slice(network, study, options.batch).cpu()
                ratios.append((time.perf_counter() - middle) / (middle - start))
        probabilities = torch.sigmoid(whole)
        difference = (probabilities - torch.sigmoid(windowed)).abs().max()
        print(
            f"{name}: {statistics.median(ratios):.2f} times as fast "
            f"({min(ratios):.2f} to {max(ratios):.2f}), largest difference {difference:.1e} of "
            f"probabilities from {probabilities.min():.2f} to {probabilities.max():.2f}"
        )


if __name__ == "__main__":
    main()
