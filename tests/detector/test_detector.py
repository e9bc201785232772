"""The public detector's input, blends and class activation maps."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from random_release import random_network
from rsna19_kedro.detector.detector import Detector
from rsna19_kedro.detector.networks import SequenceNetwork, SliceClassifier
from rsna19_kedro.detector.release import Release
from rsna19_kedro.detector.slice_input import SIDE_PX, WINDOWS_HU, fit_of, slice_input

pytestmark = pytest.mark.slow

SHARED = Path(os.environ.get("RSNA19_SHARED", Path(__file__).parents[3] / "shared"))
ORACLE = SHARED / "detector" / "oracle.py"
RELEASE = Release(Path(), "0" * 64, random=True)


@pytest.mark.parametrize("size", [(512, 512), (400, 400), (639, 511), (600, 640)])
def test_smaller_slices_are_cropped_or_padded_around_their_centre(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    hu = rng.integers(-1024, 3000, size).astype(np.int16)
    planes, fit = slice_input(hu), fit_of(*size)
    assert planes.shape == (3, SIDE_PX, SIDE_PX)
    assert planes.dtype == np.float32
    for row, col in ((0, 0), (255, 255), (SIDE_PX - 1, 100)):
        at = row - fit.offset[0], col - fit.offset[1]
        inside = 0 <= at[0] < size[0] and 0 <= at[1] < size[1]
        for plane, (centre, width) in zip(planes, WINDOWS_HU, strict=True):
            low = centre - width / 2
            expected = np.clip((hu[at] - low) / width, 0, 1) if inside else 0.0
            assert plane[row, col] == pytest.approx(expected, abs=1e-6)
    for axis in (0, 1):  # The excess of the first edge is rounded down.
        before = fit.offset[axis]
        assert before == (SIDE_PX - size[axis]) // 2 or before == -((size[axis] - SIDE_PX) // 2)


def test_larger_slices_are_resampled_by_area() -> None:
    hu = np.full((1024, 700), 20, np.int16)
    hu[::2] = 40
    assert np.allclose(slice_input(hu)[0], 30 / 80, atol=1e-6)
    assert fit_of(1024, 700).scale == (0.5, SIDE_PX / 700)
    edge = np.zeros((700, 700), np.int16)
    edge[:, 350:] = 80  # The middle of the slice is the middle of the input.
    assert np.allclose(slice_input(edge)[0].mean(axis=0).cumsum()[[255, -1]], [0, 256], atol=1e-3)


class _Means(nn.Module):
    """A classifier whose embedding and logits are simple functions of the input."""

    def forward(self, stacks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        means = stacks.mean(dim=(2, 3))
        embedding = means.repeat(1, 57)[:, :512] * torch.linspace(-3, 3, 512)
        logits = 4 * means[:, :6] - 2
        return embedding, logits, logits[:, :, None, None].expand(-1, -1, 16, 16)


def _logit(probability: np.ndarray) -> np.ndarray:
    return np.log(probability / (1 - probability))


@pytest.mark.parametrize("number", [1, 2, 64, 65, 90])
def test_logits_are_blended_and_long_series_sampled(number: int) -> None:
    rng = np.random.default_rng(number)
    native = [np.full((512, 512), value, np.int16) for value in rng.integers(-50, 120, number)]
    sequence = random_network(SequenceNetwork())
    found = Detector(RELEASE, _Means(), sequence).predict(native)
    nothing = np.zeros((3, 512, 512), np.float32)
    planes = [nothing, *map(slice_input, native), nothing]
    stacks = np.stack([np.concatenate(planes[i : i + 3]) for i in range(number)])
    with torch.inference_mode():
        embedding, base, _ = _Means()(torch.from_numpy(stacks))
        seen = sorted({round(i * (number - 1) / 63) for i in range(64)}) if number > 64 else None
        seen = list(range(number)) if seen is None else seen
        places = torch.tensor(seen, dtype=torch.float32) / max(number - 1, 1)
        context, series = (value.numpy() for value in sequence(embedding[seen], places))
    base = base.numpy()
    nearest = [min(range(len(seen)), key=lambda j: (abs(seen[j] - i), j)) for i in range(number)]
    share = np.array([0.75] * 5 + [1.0])
    expected = (1 - share) * base + share * context[nearest]
    assert np.allclose(_logit(found.slices), expected, atol=1e-4)
    share = np.array([0.5, 0.25, 0.5, 1.0, 0.5, 0.5])
    expected = (1 - share) * base.max(axis=0) + share * series
    assert np.allclose(_logit(found.series), expected, atol=1e-4)
    assert found.maps.shape == (number, 6, 16, 16)


def test_class_activation_maps_add_up_to_the_logits() -> None:
    classifier = random_network(SliceClassifier())
    assert isinstance(classifier, SliceClassifier)
    with torch.inference_mode():
        embedding, logits, maps = classifier(torch.rand(1, 9, SIDE_PX, SIDE_PX))
    assert torch.allclose(maps.mean(dim=(2, 3)) + classifier.linear.bias, logits, atol=1e-4)
    assert embedding.shape == (1, 512)


@pytest.mark.skipif(not ORACLE.is_file(), reason="the independent computation is not here")
def test_independent_computation_agrees(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.syspath_prepend(ORACLE.parent)
    import oracle

    monkeypatch.setattr(sys, "argv", ["oracle.py", "--cases", "1x512", "2x400"])
    assert oracle.main() == 0, capsys.readouterr().out
