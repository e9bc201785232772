"""The catalog has an entry for every dataset, and the folders of a model and fold agree."""

import re
from pathlib import Path

import pytest
import yaml
from kedro.config import OmegaConfigLoader
from kedro.io import DataCatalog

from rsna19_kedro import datasets
from rsna19_kedro.contracts import FOLDS
from rsna19_kedro.networks.zoo import ZOO
from rsna19_kedro.pipeline_registry import _pipelines
from rsna19_kedro.scope import Scope
from rsna19_kedro.settings import CONFIG_LOADER_ARGS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def catalog() -> DataCatalog:
    loader = OmegaConfigLoader(str(ROOT / "conf"), env="base", **CONFIG_LOADER_ARGS)
    return DataCatalog.from_config(loader["catalog"])


def test_every_dataset_of_every_pipeline_has_an_entry(catalog: DataCatalog) -> None:
    for pipeline in _pipelines(Scope(models=tuple(ZOO), folds=FOLDS, phantoms=True)).values():
        for name in pipeline.datasets():
            if name.endswith("_folder") or not name.startswith("params:"):
                assert name in catalog, f"{name} has no entry in conf/base/catalog"


def test_a_save_clears_a_folder_inside_the_working_folder_of_the_node(catalog: DataCatalog) -> None:
    """The documented paths, and the folders that ``clears`` names."""
    namespace = "resnet18_400.fold_2"
    models = catalog.load(f"params:{namespace}.training_folder")
    output = catalog.load(f"params:{namespace}.prediction_folder")
    assert models == Path("data/06_models/resnet18_400/fold_2")
    assert output == Path("data/07_model_output/resnet18_400/fold_2")
    for name, folder, cleared in (
        ("checkpoint", models, "resume"),
        ("oof", output, "oof_parts"),
        ("test", output, "test_parts"),
    ):
        entry = catalog[f"{namespace}.{name}"]
        assert Path(str(entry._filepath)).parent.parts[-len(folder.parts) :] == folder.parts
        assert entry._clears == cleared


def test_no_parameter_is_hidden() -> None:
    """Kedro ignores keys such as ``_shared`` in a catalog, but not in the parameters."""
    for env in ("base", "demo", "test"):
        loader = OmegaConfigLoader(str(ROOT / "conf"), env=env, **CONFIG_LOADER_ARGS)
        assert not [key for key in loader["parameters"] if key.startswith("_")]


@pytest.mark.parametrize("name", datasets.__all__)
def test_every_dataset_class_has_examples_that_work(name: str) -> None:
    docstring = getattr(datasets, name).__doc__
    example = re.search(r"```yaml\n(.*?)```", docstring, re.DOTALL)
    assert example, f"{name} has no YAML example"
    text = re.sub(r"\$\{.*\}", "data/01_raw", example[1])
    ((entry, config),) = yaml.safe_load(text).items()
    assert isinstance(
        DataCatalog.from_config({entry: config}).get(entry.format(model="m", fold=0)),
        getattr(datasets, name),
    )
    python = re.search(r"```python\n(.*?)```", docstring, re.DOTALL)
    assert python, f"{name} has no Python example"
    compile(re.sub(r"^        ", "", python[1], flags=re.MULTILINE), name, "exec")
