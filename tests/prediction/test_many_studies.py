"""Many studies: groups of studies in memory, and an index with a page per study."""

import re
import weakref
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from rsna19_kedro.contracts import CLASSES, PREDICTIONS
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.new_source import volume_name
from rsna19_kedro.networks.build import build_network
from rsna19_kedro.networks.checkpoint import Checkpoint
from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.prediction import new_study
from rsna19_kedro.prediction.members import find_members
from rsna19_kedro.prediction.new_study import SPREAD, predict_prepared
from rsna19_kedro.prediction.new_study_page import new_study_page
from rsna19_kedro.prediction.settings import PredictionSettings

pytestmark = pytest.mark.slow

MODELS = ("resnet18_400", "clf2Dc_resnet34_3c")
NAMES = ("study_1", "study_2", "study_3", "study_4")


class CountingStore(VolumeStore):
    """A store that knows which volumes were read, and how many of them are still in memory."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.reads: list[str] = []
        self.alive: list[weakref.ref] = []
        self.most_alive = 0

    def read(self, study_id: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        volume = super().read(study_id, start, stop)
        self.alive = [ref for ref in self.alive if ref() is not None] + [weakref.ref(volume)]
        self.most_alive = max(self.most_alive, len(self.alive))
        self.reads.append(study_id)
        return volume


@pytest.fixture
def volumes(tmp_path: Path) -> CountingStore:
    """Four studies of 3 to 6 slices."""
    rng = np.random.default_rng(0)
    store = CountingStore(tmp_path / "volumes")
    for slices, name in enumerate(NAMES, 3):
        hu = np.full((slices, 400, 400), -1000, np.int16)
        hu[:, 100:300, 120:280] = 35 + rng.normal(0, 20, (slices, 200, 160))
        store.write(name, hu, {"record": {"slices_per_slab": 1}})
    return store


@pytest.fixture
def members(tmp_path: Path):
    for model in MODELS:
        torch.manual_seed(0)
        Checkpoint(
            *(ZOO[model], build_network(ZOO[model]).state_dict()),
            hu_lut=((torch.arange(-400, 1001) - 50) / 30).clamp(-1, 1),
            crop_px=384,
            resize_px=48,
            metadata={"recipe": {"variants": ["normal", "flip_horizontal"]}},
        ).write(tmp_path / "models" / model / "fold_0" / "checkpoint.safetensors")
    return find_members(tmp_path / "models")


def test_results_do_not_depend_on_the_groups(volumes, members, monkeypatch) -> None:
    together = list(predict_prepared(volumes, NAMES, members, None, PredictionSettings()))
    assert [result.study_id for result in together] == [*NAMES]
    alone = [
        result
        for name in NAMES
        for result in predict_prepared(volumes, [name], members, None, PredictionSettings())
    ]
    monkeypatch.setattr(new_study, "_CPU_GROUP", 8)
    grouped = list(predict_prepared(volumes, NAMES, members, None, PredictionSettings()))
    for one, other, third in zip(together, alone, grouped, strict=True):
        for result in (other, third):
            columns = [*PREDICTIONS, *SPREAD]
            np.testing.assert_allclose(one.slices[columns], result.slices[columns], atol=1e-6)
            np.testing.assert_allclose(one.heat, result.heat, atol=1e-3)
            assert one.study == pytest.approx(result.study, abs=1e-6)


@pytest.mark.parametrize(("models", "loads"), [(2, 6), (1, 1)])
def test_only_one_group_is_read_and_each_checkpoint_loaded_once_per_group(
    volumes, members, monkeypatch, models: int, loads: int
) -> None:
    monkeypatch.setattr(new_study, "_CPU_GROUP", 8)  # 3 + 4, 5 + 6 slices: 2, 1 and 1 studies.
    groups = [NAMES[:2], NAMES[2:3], NAMES[3:]]
    loaded = []
    read = Checkpoint.read
    monkeypatch.setattr(Checkpoint, "read", lambda path: (loaded.append(path), read(path))[1])
    results = predict_prepared(volumes, NAMES, members[:models], None, PredictionSettings())
    heat = []
    for result in results:
        (group,) = [index for index, names in enumerate(groups) if result.study_id in names]
        assert set(volumes.reads) == {name for names in groups[: group + 1] for name in names}
        heat.append(weakref.ref(result.heat))
        del result
        assert sum(ref() is not None for ref in heat) == 0, "a heatmap is kept"
    assert len(loaded) == loads
    assert volumes.most_alive <= 4, "read ahead, predicted and just read"


def _tables(volumes: VolumeStore) -> tuple[pd.DataFrame, pd.DataFrame, dict, dict]:
    """Predictions, series, findings and summary; study 3 is most suspicious, study 2 least."""
    rows, records = [], []
    for number, highest in ((1, 0.5), (2, 0.1), (3, 0.9), (4, 0.3)):
        count = volumes.shape(volume_name(number))[0]
        any_ = np.linspace(0, highest, count)
        of_slices = pd.DataFrame({name: any_ for name in PREDICTIONS} | dict.fromkeys(SPREAD, 0.1))
        of_slices = of_slices.assign(
            study_number=number, slice_num=range(count), instance_number=pd.NA, position_mm=2.5
        )
        rows += [of_slices.tail(1).assign(level="study"), of_slices.assign(level="slice")]
        records.append(
            {"number": number, "study_id": f"1.2.{number}", "study_date": "2019-06-01"}
            | {"series_description": f"HEAD {number}", "remarks": [f"remark {number}"]}
            | {"failed": None}
        )
    records.append({**records[0], "number": 5, "remarks": [], "failed": "no head"})
    series = pd.DataFrame(
        {"study_number": [1, 2, 3, 4, 5], "picked": [True] * 4 + [False], "stack": 1}
        | {"reason": [f"used {number}" for number in range(1, 6)], "slices": 3}
        | {"description": "HEAD", "kernel": "", "distance_mm": 5.0, "series_instance_uid": "1"}
    )
    findings = {"problems": {}, "refused": {}, "files": 18, "studies": records}
    summary = {"method": "mean", "members": ["a", "b"], "precision": "bf16"}
    summary |= {"trained_on": "real", "band": "Real CT", "study_rule": "the highest of its slices"}
    return pd.concat(rows, ignore_index=True), series, findings, summary


@pytest.mark.parametrize("one_page", [4, 3])
def test_many_studies_have_an_index_and_a_page_each(volumes, tmp_path, one_page: int) -> None:
    pages = tmp_path / "studies"
    tables = _tables(volumes)
    index = new_study_page(volumes, *tables, tmp_path / "heat", pages, one_page=one_page)
    assert volumes.most_alive <= 2
    rows = re.findall(r'<tr><td><a href="([^"]+)">Study (\d)', index)
    assert [number for _, number in rows] == ["3", "1", "4", "2"], "most suspicious first"
    assert "not predicted: no head" in index
    if one_page == 4:
        assert [link for link, _ in rows] == ["#study-3", "#study-1", "#study-4", "#study-2"]
        assert index.count('class="viewer"') == 4
        assert not pages.exists()
        return
    assert [link for link, _ in rows] == [f"studies/study_{number}.html" for _, number in rows]
    assert 'class="viewer"' not in index
    assert len(index) < 30_000
    assert all(f"remark {number}" in index for number in range(1, 5))
    for name in CLASSES:
        assert f"<th>{name}</th>" in index
    for place, (link, number) in enumerate(rows):
        page = (tmp_path / link).read_text()
        assert page.count('class="viewer"') == 1
        links = re.findall(r'<a href="(\.\./report\.html|study_\d\.html)">', page)
        near = [rows[other] for other in (place - 1, place + 1) if 0 <= other < 4]
        assert links == ["../report.html", *(Path(other).name for other, _ in near)]
        assert f"HEAD {number}" in page
        assert "<dt>Precision</dt><dd>bf16</dd>" in page
        assert re.findall(r"used \d", page.split("<h2>Input")[1]) == [f"used {number}"]
    assert len(list(pages.iterdir())) == 4
