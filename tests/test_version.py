"""Versions in results, also if the package is not installed."""

import importlib
import importlib.metadata
import tomllib
from pathlib import Path

import pandas as pd
import pytest

import rsna19_kedro
from recipes import base_recipe
from rsna19_kedro.evaluation.page import software_versions
from rsna19_kedro.pipelines.cnn_training.nodes import _metadata
from rsna19_kedro.version import package_versions

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def _not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clone that runs from its ``src``: only this package has no metadata."""
    original = importlib.metadata.distribution

    def distribution(name: str) -> importlib.metadata.Distribution:
        if name == "rsna19_kedro":
            raise importlib.metadata.PackageNotFoundError(name)
        return original(name)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("rsna19_kedro")


@pytest.mark.usefixtures("_not_installed")
def test_a_training_succeeds_in_a_clone_that_is_not_installed() -> None:
    history = pd.DataFrame({"val_loss": [0.2, 0.1], "epoch": [0.5, 1.0]})
    versions = _metadata(base_recipe("resnet18_400"), 0, history)["versions"]
    assert versions["rsna19_kedro"] == rsna19_kedro.__version__
    assert versions["torch"] == importlib.metadata.version("torch")
    assert software_versions()["rsna19_kedro"] == rsna19_kedro.__version__


def test_a_missing_package_is_not_installed() -> None:
    assert package_versions("no-such-package") == {"no-such-package": "not installed"}


def test_the_build_reads_the_version_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    module, _, name = project["tool"]["setuptools"]["dynamic"]["version"]["attr"].rpartition(".")
    assert vars(importlib.import_module(module))[name] == rsna19_kedro.__version__


def test_the_package_exports_its_errors() -> None:
    for name in ("ModelError", "SourceError", "DamagedFileError", "ParameterError"):
        assert issubclass(getattr(rsna19_kedro, name), rsna19_kedro.InputError)
