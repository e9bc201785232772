"""What a user of ``kedro ipython`` sees of the stored results."""

import re
from pathlib import Path

import pytest
from kedro.io import DatasetNotFoundError

from rsna19_kedro.datasets.png import SIGNATURE

from .conftest import saved_catalog

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]


def test_results_describe_themselves(
    finished_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = saved_catalog(finished_project)
    monkeypatch.chdir(finished_project)
    lines = str(catalog.load("resnet18_400.fold_2.checkpoint")).splitlines()
    assert len(lines) == 5
    assert lines[0] == "resnet18_400, fold 2: resnet18, 11.8 M parameters"
    assert "of synthetic heads" in lines[2]
    assert re.fullmatch(r"  validation loss: \d\.\d{4} at epoch 2.0", lines[3])
    volumes = catalog.load("volumes")
    studies = list(volumes)
    assert len(volumes) == len(studies) == 17
    assert volumes[studies[0]].shape == volumes.shape(studies[0])
    assert catalog.load("roc_figure")._repr_png_().startswith(SIGNATURE)
    for name, meant in (
        ("slice_indx", "slice_index"),
        ("resnet18_400.fold_2.checkpont", "resnet18_400.fold_2.checkpoint"),
    ):
        with pytest.raises(DatasetNotFoundError, match=f"Did you mean '{re.escape(meant)}'"):
            catalog.load(name)
        with pytest.raises(DatasetNotFoundError, match=f"Did you mean '{re.escape(meant)}'"):
            catalog[name]
