"""Samples per second and CPU core of the input pipeline: this project against the usual way.

A sample is a window of 5 slices of 400 x 400 pixels with its labels. The usual way, as in the
reference and most public solutions: five ``np.load`` of int16 slices, look-up table, flips,
quarter turn, shift-scale-rotate of the five slices as channels of one image (OpenCV's affine,
which albumentations uses, bilinear), conversion to a float32 tensor; all on the CPU, in the
loader. This project: the loader decompresses five slices into the batch as int16; everything
else runs on the training device (training_step.py measures that). One thread, files in the page
cache, alternating in one process, including collation into batches of 16.

Run: ``python benchmarks/input_pipeline.py [VOLUMES]`` with a folder of prepared volumes (default:
data/03_primary/volumes). Needs the extra ``benchmarks``.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import default_collate

from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.training.samples import FoldSlices, SampleReader, Samples, SliceTable

BATCH = 16
REACH = 2
LUT = np.linspace(-1, 1, 1401).astype(np.float32)


def usual_sample(
    folder: Path, study: str, centre: int, slices: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """One augmented window."""
    planes = []
    for number in range(centre - REACH, centre + REACH + 1):
        if 0 <= number < slices:
            hu = np.load(folder / study / f"{number:03d}.npy")
            planes.append(LUT[np.clip(hu, -400, 1000) + 400])
        else:
            planes.append(np.full((400, 400), -1, np.float32))
    image = np.stack(planes, axis=-1)
    if rng.random() < 0.5:
        image = image[:, ::-1] if rng.random() < 0.5 else image[::-1]
    if rng.random() < 0.5:
        image = np.rot90(image, int(rng.integers(4)))
    if rng.random() < 0.8:
        turn = cv2.getRotationMatrix2D(
            (199.5, 199.5), rng.uniform(-30, 30), rng.uniform(0.95, 1.05)
        )
        turn[:, 2] += rng.uniform(-25, 25, 2)
        image = cv2.warpAffine(
            np.ascontiguousarray(image),
            turn,
            (400, 400),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return tensor, torch.zeros(6)


def seconds(action: Callable[[], object]) -> float:
    """CPU time of a call."""
    start = time.process_time()
    action()
    return time.process_time() - start


def main() -> None:
    """Print the samples per CPU-second of both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("volumes", nargs="?", type=Path, default=Path("data/03_primary/volumes"))
    parser.add_argument("--samples", type=int, default=160)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    store = VolumeStore(options.volumes)
    studies = [s for s in store.study_ids() if store.shape(s)[1:] == (400, 400)][:40]
    slices = np.array([store.shape(study)[0] for study in studies])
    one = np.arange(len(studies))
    labels = np.zeros((len(studies), 6), np.float32)
    table = SliceTable(studies, slices, one, np.zeros(len(studies), int), labels)
    rng = np.random.default_rng(0)
    chosen = rng.integers(len(studies), size=options.samples)
    centres = (rng.random(options.samples) * slices[chosen]).astype(int)
    reader = SampleReader(FoldSlices(store, table, table), 2 * REACH + 1, 1, None)
    samples = Samples(chosen, centres, predicted=1, margin=REACH)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for study in studies:
            (folder / study).mkdir()
            for number, plane in enumerate(store.read(study)):
                np.save(folder / study / f"{number:03d}.npy", plane)

        def usual() -> None:
            for start in range(0, options.samples, BATCH):
                part = range(start, min(start + BATCH, options.samples))
                default_collate(
                    [
                        usual_sample(folder, studies[chosen[i]], centres[i], slices[chosen[i]], rng)
                        for i in part
                    ]
                )

        def ours() -> None:
            for start in range(0, options.samples, BATCH):
                reader.read(samples, np.arange(start, min(start + BATCH, options.samples)))

        usual(), ours()
        times = [(seconds(usual), seconds(ours)) for _ in range(options.repeats)]
    rates = [(options.samples / a, options.samples / b) for a, b in times]
    ratios = [b / a for a, b in rates]
    print(f"usual way     {statistics.median(a for a, _ in rates):7.0f} samples per CPU-second")
    print(f"this project  {statistics.median(b for _, b in rates):7.0f} samples per CPU-second")
    print(
        f"ratio         {statistics.median(ratios):7.1f} "
        f"({len(ratios)} repeats: {min(ratios):.1f} to {max(ratios):.1f})"
    )


if __name__ == "__main__":
    main()
