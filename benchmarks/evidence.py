"""Accuracy of class activation maps: is their maximum inside the true mask, compared to Grad-CAM?

Uses the results of a run under ``data/``: checkpoints, prepared volumes, masks and folds. Counts
each slice and class of the held-out studies with a mask if the mask shows the class and the
predicted probability is at least 0.5. Evidence is this project's class activation map, the
decomposition of the logit (or the decoder's masks); Grad-CAM is captum's, on the same combined
feature maps. Both are enlarged by B-splines, as in the reports, and linearly. With several models
the combined map of a result is evaluated too.

Run after training: ``python benchmarks/evidence.py [--model NAME ...] [--data data]``
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from captum.attr import LayerGradCam
from scipy.ndimage import distance_transform_edt, zoom
from torch import Tensor, nn

from rsna19_kedro.contracts import CLASSES, PREDICTIONS
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.networks.checkpoint import Checkpoint
from rsna19_kedro.networks.evidence import class_evidence
from rsna19_kedro.networks.network_input import air_value
from rsna19_kedro.networks.slice_network import SliceNetwork
from rsna19_kedro.networks.tta_input import study_inputs
from rsna19_kedro.networks.whole_study import whole_study_maps
from rsna19_kedro.prediction.heat import HEAT_PX, smooth_resize
from rsna19_kedro.prediction.members import find_members
from rsna19_kedro.prediction.new_study import predict_prepared
from rsna19_kedro.prediction.settings import PredictionSettings


class Tail(nn.Module):
    """The layers after the combined feature maps of one slice, for captum."""

    def __init__(self, network: SliceNetwork) -> None:
        super().__init__()
        self.network, self.maps = network, nn.Identity()

    def forward(self, combined: Tensor) -> Tensor:
        """Logits ``(1, 6)`` of feature maps ``(1, E, h, w)``."""
        return self.network.classify((self.maps(combined)[:, None],)).logits[:, 0]


def misses_px(maps: np.ndarray, mask: np.ndarray, crop_px: int) -> dict[str, float]:
    """Distance of the maximum from the mask, in pixels of the prepared slice."""
    margin = (mask.shape[-1] - crop_px) // 2
    distances = distance_transform_edt(~mask)
    scale = crop_px / maps.shape[-1]
    misses = {}
    for name, large in (
        ("", smooth_resize(maps.clip(min=0), crop_px)),
        (" enlarged linearly", zoom(maps, scale, order=1, grid_mode=True, mode="nearest")),
    ):
        row, col = np.unravel_index(large.argmax(), large.shape)
        misses[name] = float(distances[row + margin, col + margin])
    return misses


def named(kind: str, maps: np.ndarray, mask: np.ndarray, crop_px: int) -> dict[str, float]:
    """``misses_px`` as columns of the table."""
    return {kind + how: miss for how, miss in misses_px(maps, mask, crop_px).items()}


def main() -> None:
    """Print one line per model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", default=["resnet18_400"])
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--least-px", type=int, default=4, help="smallest mask that counts")
    options = parser.parse_args()
    volumes = VolumeStore(options.data / "03_primary" / "volumes")
    masks = VolumeStore(options.data / "03_primary" / "masks")
    folds = pd.read_parquet(options.data / "03_primary" / "folds.parquet")
    fold_of = folds.drop_duplicates("study_id").set_index("study_id")["fold"]
    for name in options.model:
        rows = []
        for path in sorted(options.data.glob(f"06_models/{name}/fold_*/checkpoint.safetensors")):
            held_out = fold_of.index[fold_of == int(path.parent.name[-1])]
            checkpoint = Checkpoint.read(path)
            for study in sorted(set(masks.study_ids()) & set(held_out)):
                rows += evaluate(
                    checkpoint, volumes.read(study), masks.read(study), options.least_px
                )
        table = pd.DataFrame(rows)
        if table.empty:
            print(f"{name}: no positive slice was predicted as positive")
            continue
        cell = table["cell_px"].iloc[0]
        print(f"{name}: {len(table)} slices and classes, feature map cells of {cell:.0f} pixels")
        for kind in table.columns.drop("cell_px"):
            inside, near = (table[kind] == 0).mean(), (table[kind] <= cell).mean()
            print(f"  {kind}: maximum inside the mask {inside:.0%}, within one cell {near:.0%}")
    if len(options.model) > 1:
        together(options, volumes, masks, fold_of)


def together(
    options: argparse.Namespace, volumes: VolumeStore, masks: VolumeStore, fold_of: pd.Series
) -> None:
    """Evaluate the combined map of all models of a fold on its held-out studies."""
    misses, contrasts = [], []
    for fold in sorted(fold_of.unique()):
        names = sorted(set(masks.study_ids()) & set(fold_of.index[fold_of == fold]))
        members = find_members(options.data / "06_models", options.model, (fold,))
        settings = PredictionSettings()
        for result in predict_prepared(volumes, names, members, None, settings, one_variant=True):
            mask = masks.read(result.study_id)
            scale = mask.shape[-1] // HEAT_PX
            for number, k in shown_and_seen(
                mask, result.slices[list(PREDICTIONS)], options.least_px
            ):
                heat = result.heat[number, k].astype(np.float32).repeat(scale, 0).repeat(scale, 1)
                shown = of_class(mask[number], k)
                row, col = np.unravel_index(heat.argmax(), heat.shape)
                centre = (row + (scale - 1) // 2, col + (scale - 1) // 2)
                misses.append(distance_transform_edt(~shown)[centre])
                contrasts.append(heat[shown].mean() / heat.mean())
    inside, near = np.equal(misses, 0).mean(), np.less_equal(misses, 16).mean()
    print(f"{len(members)} models per fold combined: {len(misses)} slices and classes")
    print(f"  maximum inside the mask {inside:.0%}, within 16 pixels {near:.0%}")
    print(f"  mean inside the mask / mean of the slice: {np.median(contrasts):.1f} (median)")


def of_class(mask: np.ndarray, k: int) -> np.ndarray:
    """Pixels of a class in the mask of a slice."""
    return mask > 0 if CLASSES[k] == "any" else mask == k + 1


def shown_and_seen(
    mask: np.ndarray, probability: pd.DataFrame, least_px: int
) -> Iterator[tuple[int, int]]:
    """Slices and classes that are in the mask and predicted."""
    for number, k in zip(*np.nonzero(probability.to_numpy() >= 0.5), strict=True):
        if of_class(mask[number], k).sum() >= least_px:
            yield int(number), int(k)


def evaluate(
    checkpoint: Checkpoint, hu: np.ndarray, mask: np.ndarray, least_px: int
) -> list[dict[str, float]]:
    """Rows with the distances of the maxima from the mask."""
    size, crop = checkpoint.input_size, checkpoint.crop_px
    network = checkpoint.network()
    seen = study_inputs(torch.from_numpy(hu), checkpoint.hu_lut, size, ("normal",), "study")
    with torch.no_grad():
        (combined,) = whole_study_maps(network, [seen], air_value(checkpoint.hu_lut, size))
        output = network.classify(combined)
        evidence = class_evidence(network, combined, output)[0].numpy()
        probability = torch.sigmoid(output.logits[0]).numpy()
    cell = crop / evidence.shape[-1]
    grad_cam = None if output.masks is not None else LayerGradCam(tail := Tail(network), tail.maps)
    rows = []
    predicted = pd.DataFrame(probability, columns=CLASSES)
    for number, k in shown_and_seen(mask, predicted, least_px):
        shown = of_class(mask[number], k)
        row = {"cell_px": cell, **named("evidence", evidence[number, k], shown, crop)}
        if grad_cam is not None:
            maps = combined[-1][:, number].detach().requires_grad_()
            attribution = grad_cam.attribute(maps, target=k, relu_attributions=True)
            row |= named("Grad-CAM", attribution[0, 0].detach().numpy(), shown, crop)
        rows.append(row)
    return rows


if __name__ == "__main__":
    main()
