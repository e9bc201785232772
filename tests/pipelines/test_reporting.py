"""The reporting pipeline on small synthetic tables, run by Kedro with its datasets."""

import math
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from pydantic import ValidationError

from rsna19_kedro.contracts import CLASSES, KEYS, PREDICTIONS
from rsna19_kedro.datasets.png import PngDataset
from rsna19_kedro.errors import InputError
from rsna19_kedro.networks.training_data import SYNTHETIC_ONLY
from rsna19_kedro.pipelines.reporting import create_pipeline
from rsna19_kedro.pipelines.reporting.parameters import ReportingParameters
from rsna19_kedro.scope import Scope

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("resnet18_400", "clf2Dc_resnet34_3c")
FOLDS = tuple(range(5))
STUDIES = 10
SLICES = 6


class Store:
    """Volumes of constant slices; the HU value depends on study and slice number."""

    def read(self, study_id: str, start: int, stop: int) -> np.ndarray:
        first = int(study_id[1:]) + 6 * np.arange(start, stop)
        return np.broadcast_to(first[:, None, None], (stop - start, 40, 40)).astype(np.int16)


def _slices() -> pd.DataFrame:
    """Ten studies of six slices, two per fold; slice 3 of each has a subdural haemorrhage."""
    rows = [
        {
            "sop_instance_uid": f"i{study}-{number}",
            "study_id": f"s{study}",
            "slice_num": number,
            "patient_id": f"p{study}",
            "fold": study // 2,
            **dict.fromkeys(CLASSES, 0),
            **(dict.fromkeys(("subdural", "any"), 1) if number == 3 else {}),
        }
        for study in range(STUDIES)
        for number in range(SLICES)
    ]
    return pd.DataFrame(rows)


def _predictions(slices: pd.DataFrame) -> np.ndarray:
    """0.1 for negative and 0.8 for positive labels, with one miss (s4) and one false alarm (s7)."""
    values = np.where(slices[list(CLASSES)].to_numpy() == 1, 0.8, 0.1)
    values[(slices["sop_instance_uid"] == "i4-3").to_numpy(), 5] = 0.02
    values[(slices["sop_instance_uid"] == "i7-1").to_numpy(), 5] = 0.97
    return values


def _scores(names: tuple[str, ...]) -> pd.DataFrame:
    rows = []
    for index, name in enumerate(names):
        loss = 0.125 * (index + 1)
        ends = {"loss_low": loss - 0.01, "loss_high": loss + 0.01}
        change = {"difference": -0.0125, "difference_low": -0.02, "difference_high": -0.005}
        rows.append({"candidate": name, "loss": loss, **ends, **change, "auc_any": 0.75})
    return pd.DataFrame(rows)


def _inputs(
    models: tuple[str, ...], candidates: tuple[str, ...], synthetic: bool
) -> dict[str, Any]:
    slices = _slices()
    folds = slices[[*KEYS, "patient_id", "fold", *CLASSES]]
    level1, values = folds.copy(), _predictions(slices)
    for model in models:
        level1[[f"{model}|{name}" for name in CLASSES]] = values
    level2 = pd.concat(
        [
            folds[[*KEYS, "patient_id", "fold"]].assign(
                candidate=name, **dict(zip(PREDICTIONS, values.T, strict=True))
            )
            for name in candidates
        ]
    )
    headers = {"subset": "train", "rows": 512, "columns": 512, "bits_stored": 12}
    headers |= {"pixel_representation": 0, "rescale_intercept": -1024.0, "problem": None}
    headers |= {"transfer_syntax_uid": "1.2.840.10008.1.2.1", "row_spacing_mm": 0.5}
    studies = [f"s{study}" for study in range(STUDIES)]
    weights = [
        {"model": model, "source": name, "offset": 0, **dict.fromkeys(CLASSES, 1 / 6 / len(models))}
        for model in models
        for name in CLASSES
    ]
    return {
        "slice_index": slices[[*KEYS, "patient_id"]].assign(**headers),
        "volume_index": pd.DataFrame({"study_id": studies}).assign(
            slices=SLICES, tilt_deg=12.0, slice_distance_mm=5.0, alignment="aligned"
        ),
        "folds": folds,
        "fold_notes": ["Given folds: 5fold.csv"],
        "test_slices": slices[list(KEYS)].head(9),
        "level1_oof": level1,
        "level2_oof": level2,
        "level2_scores": _scores(candidates),
        "level2_choice": {"chosen": candidates[0], "reason": "lowest of its kind"},
        "level2_weights": pd.DataFrame(weights),
        "volumes": Store(),
        "download_facts": {"synthetic": synthetic},
        "submission_average": pd.DataFrame({"ID": range(54), "Label": 0.5}),
        **{
            f"{model}.fold_{fold}.history": _history(model, fold)
            for model in models
            for fold in FOLDS
        },
    }


def _history(model: str, fold: int) -> pd.DataFrame:
    rows = {"phase": "main", "epoch": [0.0, 1.0], "step": [10, 20], "train_loss": [0.5, 0.4]}
    measured = {"val_loss": [0.45, 0.3 + 0.01 * fold], "val_auc_any": [0.6, 0.8]}
    return pd.DataFrame({"model": model, "fold": fold, **rows, **measured})


def _origins() -> pd.DataFrame:
    """Output of ``provenance.history.origins``, with one accepted out-of-date result."""
    made = {"made": "2026-11-26T12:00:00+00:00", "seconds": 2.0, "machine": "m", "version": "1"}
    names = ["fold_scores", "a.fold_0.checkpoint", "a.fold_1.checkpoint"]
    rows = [{"dataset": name, "node": "n", "inputs": ["folds"], **made} for name in names]
    return pd.DataFrame(rows).assign(accepted=[[], ["dropout 0.0 -> 0.1"], []])


def _parameters() -> ReportingParameters:
    text = (ROOT / "conf/base/parameters/reporting.yml").read_text(encoding="utf-8")
    values = yaml.safe_load(re.sub(r"seed: \$.*", "seed: 0", text))["reporting"]
    return ReportingParameters(**{**values, "bootstrap_resamples": 100})


def _run(
    folder: Path,
    models: tuple[str, ...] = MODELS,
    candidates: tuple[str, ...] = ("simplex",),
    synthetic: bool = False,
) -> Mapping[str, Any]:
    pipeline = create_pipeline(Scope(models=models, folds=FOLDS))
    inputs = {**_inputs(models, candidates, synthetic), "params:reporting": _parameters()}
    inputs["origins"] = _origins()
    assert pipeline.inputs() == set(inputs)
    catalog = DataCatalog({name: MemoryDataset(data) for name, data in inputs.items()})
    figures = [name for name in pipeline.all_outputs() if name.endswith("_figure")]
    for name in figures:
        catalog[name] = PngDataset(filepath=str(folder / f"{name}.png"))
    kept = SequentialRunner().run(pipeline, catalog)
    return {name: dataset.load() for name, dataset in kept.items()} | {"figures": figures}


class _Links(HTMLParser):
    """Collects the resources that a page loads, its links and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = ("src", "href", "srcset", "poster", "data", "action")
        addresses = self.links if tag == "a" else self.addresses
        addresses += [value or "" for name, value in attrs if name in names]
        assert tag not in {"script", "iframe", "object", "embed", "base"}

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _read(html: str) -> _Links:
    parser = _Links()
    parser.feed(html)
    return parser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("figures")


@pytest.fixture(scope="module")
def outcome(folder: Path) -> Mapping[str, Any]:
    return _run(folder, candidates=("simplex", "mean", "hu_histogram", "prevalence"))


@pytest.fixture(scope="module")
def page(outcome: Mapping[str, Any]) -> str:
    return str(outcome["report"])


@pytest.fixture(scope="module")
def text(page: str) -> str:
    return " ".join(" ".join(_read(page).text).split())


def test_page_loads_no_resources(page: str) -> None:
    parsed = _read(page)
    pictures = [address for address in parsed.addresses if address.startswith("data:image/")]
    assert len(pictures) >= 8
    assert all(address.startswith("data:") for address in parsed.addresses)
    # Links lead to the page itself or to its folder.
    relative = {link for link in parsed.links if not link.startswith("#")}
    assert relative == {"ingestion_report.md", "model_card.md", "figures/", "tables/"}
    style = page.split("<style>")[1].split("</style>", maxsplit=1)[0]
    assert "url(" not in style
    assert "@import" not in style


def test_summary_shows_the_numbers_of_the_tables(text: str) -> None:
    assert "Weighted log loss, second level 0.1250 0.1150 to 0.1350" in text
    assert "plain average of the models 0.2500 0.2400 to 0.2600" in text
    # The prevalence row scores 0.5, so 0.125 is 75 % below it.
    assert "prevalence 75.0 % higher is better; the prevalence scores 0.5000" in text
    assert "logistic regression on HU histograms 0.750" in text
    assert "60 labelled slices of 10 studies and 10 patients" in text
    assert "60, 10 of them with a haemorrhage" in text
    assert "54 rows each" in text
    assert "Second level lowest of its kind" in text
    assert "For research only" in text
    assert "Page made on 20" in text.split("Summary", maxsplit=1)[0]
    assert "It may show real head CT" in text


def test_auc_on_the_page_by_hand(text: str) -> None:
    # Of 10 x 50 pairs, 50 are lost by the miss and 9 more by the false alarm.
    area = 1 - (50 + 9) / 500
    assert f"ROC AUC of any , second level {area:.3f}" in text


def test_log_loss_of_a_model_by_hand(text: str) -> None:
    right = 50 * -math.log(0.9) + 10 * -math.log(0.8)
    subdural = right / 60
    wrong = -math.log(0.02) + math.log(0.8) - math.log(0.03) + math.log(0.9)
    any_class = (right + wrong) / 60
    empty = -math.log(0.9)
    score = (4 * empty + subdural + 2 * any_class) / 7
    row = [empty] * 4 + [subdural, any_class, score]
    assert "resnet18_ 400 " + " ".join(f"{value:.4f}" for value in row) in text
    assert f"resnet18_ 400 {' '.join(['–'] * 4)} 1.000" in text.replace("—", "–")  # noqa: RUF001


def test_validation_losses_and_fold_counts_are_shown(text: str) -> None:
    assert "resnet18_ 400 0.3000 0.3100 0.3200 0.3300 0.3400 0.3200" in text
    assert "0 2 12 0 0.0" in text
    assert "all 10 60 0 0.0" in text


def test_the_worst_slices_are_listed_with_their_probabilities(text: str) -> None:
    missed = text.split("Missed:")[1].split("False alarms:")
    assert "s4 , slice 3," in missed[0]
    assert "any 0.02" in missed[0]
    assert "s7 , slice 1," in missed[1].split("Highest loss")[0]


def test_figures_are_pngs_with_a_kedro_viz_preview(
    outcome: Mapping[str, Any], folder: Path
) -> None:
    assert len(outcome["figures"]) == 8
    for name in outcome["figures"]:
        dataset = PngDataset(filepath=str(folder / f"{name}.png"))
        assert dataset.load().startswith(b"\x89PNG")
        assert PngDataset.preview.__annotations__["return"].__name__ == "ImagePreview"
        assert dataset.preview().startswith("iVBOR")


def test_report_of_one_synthetic_model_and_one_candidate(
    tmp_path: Path, outcome: Mapping[str, Any]
) -> None:
    real = outcome
    outputs = _run(tmp_path, models=("resnet18_400",), candidates=("mean",), synthetic=True)
    shown = " ".join(" ".join(_read(outputs["report"]).text).split())
    assert f"{SYNTHETIC_ONLY}." in shown.split("For research only")[0]
    assert f"**{SYNTHETIC_ONLY}.**" in outputs["model_card"].split("## Model details")[0]
    assert "phantoms" in outputs["model_card"]
    assert "The pictures show synthetic heads." in shown
    assert "real head CT" not in shown
    for only_for_real_data in ("sorting a collection", "recalibrate"):
        assert only_for_real_data not in outputs["model_card"]
        assert only_for_real_data in real["model_card"]
    assert "1 model, 5 folds" in shown
    assert "logistic regression on HU histograms –" in shown  # noqa: RUF001
    assert "plain average (reported)" in shown


def test_model_card_shows_the_numbers_of_the_tables(outcome: Mapping[str, Any]) -> None:
    model_card = outcome["model_card"]
    assert (
        "2 convolutional networks (resnet18_400, clf2Dc_resnet34_3c), each trained 5 times"
        in model_card
    )
    assert "| weighted log loss, second level | 0.1250 | 0.1150 to 0.1350 |" in model_card
    assert "60 slices of 10 studies and 10 patients, 10 slices with a haemorrhage" in model_card
    assert "`subdural` 10" in model_card
    assert "\n\n## Performance\n\n" in model_card
    assert (
        "All made on m with rsna19_kedro 1.\n\n| result | made | from | duration |\n" in model_card
    )
    assert model_card.endswith(".\n")
    assert (
        "Each model was trained on real head CT of 8 patients (8 studies, 48 slices); "
        "out-of-fold AUC of any: 0.882." in model_card
    )
    for text in (model_card, outcome["report"]):
        assert "phantoms" not in text
        assert "synthetic heads" not in text
    assert "Not a medical device" in model_card
    # All studies are positive, so the AUC is undefined.
    dash = "\N{EN DASH}"
    assert f"| `any` | 10 | {dash} ({dash}) |" in model_card


def test_worst_studies_link_to_their_pictures(page: str) -> None:
    links = {address[1:] for address in _read(page).links if address.startswith("#slice-")}
    assert "slice-s4-3" in links
    assert all(f'id="{link}"' in page for link in links)
    assert '<code>s4</code> 0.740 (<a href="#slice-s4-3">slice 3</a>)</div>' in page


def test_nodes_are_in_the_namespace_and_outputs_keep_their_names() -> None:
    pipeline = create_pipeline(Scope(models=MODELS, folds=FOLDS))
    assert all(node.name.startswith("reporting.") for node in pipeline.nodes)
    assert {"report", "report_summary", "fold_figure"} <= pipeline.all_outputs()
    assert not any(name.startswith("reporting.") for name in pipeline.all_outputs())
    assert "resnet18_400.fold_3.history" in pipeline.inputs()


def test_data_that_is_not_png_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "x.png"
    with pytest.raises(Exception, match="not a PNG") as caught:
        PngDataset(filepath=str(target)).save(b"GIF89a")
    assert isinstance(caught.value, InputError) or isinstance(caught.value.__cause__, InputError)
    assert not target.exists()


def test_a_misspelt_parameter_is_reported() -> None:
    with pytest.raises(ValidationError, match="worst_slice\n"):
        ReportingParameters(windows={"brain": (40, 80)}, submissions={}, worst_slice=3)
