from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from rsna19_kedro.phantoms import PhantomSet
from rsna19_kedro.pipelines.phantoms import create_pipeline
from rsna19_kedro.pipelines.phantoms.nodes import generate_phantoms
from rsna19_kedro.pipelines.phantoms.parameters import PhantomParameters
from rsna19_kedro.scope import Scope

PARAMETERS = Path(__file__).parents[2] / "conf" / "base" / "parameters" / "phantoms.yml"


@pytest.fixture
def base():
    values = yaml.safe_load(PARAMETERS.read_text())["phantoms"]
    return {**values, "seed": 2019}


def test_yaml_parameters_equal_the_default_set(base):
    assert PhantomParameters(**base).phantom_set() == PhantomSet()
    assert PhantomParameters(**{**base, "layout": 2019}).layout == "2019"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_studdies": 3}, "train_studdies"),
        ({"slices": [9, 5]}, "smaller number comes first"),
        ({"slices": [9, 300]}, "127"),
        ({"layout": "2018"}, "layout"),
        ({"positive_fraction": 1.5}, "positive_fraction"),
    ],
)
def test_invalid_parameters_are_refused(base, change, message):
    with pytest.raises(ValidationError, match=message):
        PhantomParameters(**{**base, **change})


def test_the_pipeline_writes_to_the_raw_folder():
    pipeline = create_pipeline(Scope(models=("resnet18_400",), folds=(0,), phantoms=True))
    assert pipeline.inputs() == {"raw_folder", "params:phantoms"}
    assert pipeline.outputs() == {"raw_download"}
    assert [node.name for node in pipeline.nodes] == ["generate_phantoms"]


def test_the_node_returns_the_folder(base, tmp_path):
    small = {"train_studies": 1, "test_studies": 1, "slices": [2, 2], "size_px": 32, "workers": 1}
    params = PhantomParameters(**{**base, **small, "pixel_spacing_mm": [7, 7]})
    assert generate_phantoms(tmp_path, params) == tmp_path
    assert (tmp_path / "phantoms.json").is_file()
    assert len(list(tmp_path.rglob("*.dcm"))) == 4
