"""The engine: faster layouts that predict the same, and its precision."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rsna19_kedro.networks.build import build_network
from rsna19_kedro.networks.checkpoint import Checkpoint
from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.prediction import engine
from rsna19_kedro.prediction.engine import Engine, Study, find_precision
from rsna19_kedro.prediction.settings import PredictionSettings

pytestmark = pytest.mark.slow

CPU = PredictionSettings(accelerator="cpu")


@pytest.mark.parametrize(
    "name",
    [
        *("resnet18_400", "resnext50_400", "resnet18_384_5_planes_bn_f8", "airnet50_384"),
        *("dpn68_384_5_planes_combine_last", "se_preresnext26b_400", "clf2Dc_resnet34_3x3"),
    ],
)
def test_probabilities_are_those_of_the_network_as_built(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(ZOO[name])
    with torch.no_grad():
        for _ in range(5):
            network.train()(torch.randn(4, ZOO[name].window, 64, 64))
    lut = ((torch.arange(-400, 1001) - 50) / 30).clamp(-1, 1)
    checkpoint = Checkpoint(ZOO[name], network.state_dict(), lut, crop_px=96, resize_px=96)
    hu = np.random.default_rng(0).normal(35, 20, (3, 96, 96)).astype(np.int16)
    fast = Engine.of(checkpoint, ("normal",), CPU)
    plain = replace(fast, network=checkpoint.network())
    assert any(
        weight.is_contiguous(memory_format=torch.channels_last) and weight.shape[-1] > 1
        for weight in fast.network.encoder.parameters()
        if weight.dim() == 4
    )
    results = []
    for used in (fast, plain):
        (prediction,) = used.predict([Study("study", hu)], with_evidence=True)
        results.append(prediction)
    assert np.abs(results[0].probabilities - results[1].probabilities).max() < 1e-5
    scale = np.abs(results[1].evidence).max()
    assert np.abs(results[0].evidence - results[1].evidence).max() < 1e-4 * scale


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags : fpu avx2 avx512_bf16 amx_tile", "bf16-mixed"),
        ("flags : fpu avx512f avx512_vnni", "32-true"),
        (None, "32-true"),
    ],
)
def test_auto_is_bf16_where_the_cpu_has_instructions_for_it(
    tmp_path, monkeypatch, flags: str | None, expected: str
) -> None:
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(flags)
    monkeypatch.setattr(engine, "_CPU_INFO", tmp_path / "cpuinfo")
    auto = PredictionSettings(precision="auto", accelerator="cpu")
    assert find_precision(auto) == expected


def test_precision_has_short_names_and_fp32_is_the_default() -> None:
    assert find_precision(CPU) == "32-true"
    for short, whole in (("fp32", "32-true"), ("bf16", "bf16-mixed"), ("fp16", "16-mixed")):
        assert PredictionSettings(precision=short).precision == whole
    with pytest.raises(ValueError, match="precision"):
        PredictionSettings(precision="int8")
