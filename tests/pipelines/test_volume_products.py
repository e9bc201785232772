from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog

from prepared_studies import PARAMS, index_of, prepare, write_three_studies
from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ct.lut import lut_from_knots, lut_from_table
from rsna19_kedro.pipelines.volume_prep import create_pipeline
from rsna19_kedro.pipelines.volume_prep.nodes import (
    draw_previews,
    fit_hu_lut,
    label_masks,
    plot_hu_lut,
    prepare_volumes,
)
from rsna19_kedro.scope import Scope


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_three_studies(tmp_path)


def test_hu_lut_is_from_knots_or_fitted_to_training_volumes(raw: Path) -> None:
    store, manifest, index = prepare(raw)
    table = fit_hu_lut(store, manifest, index, PARAMS)
    np.testing.assert_array_equal(lut_from_table(table), lut_from_knots())
    figure = plot_hu_lut(store, manifest, index, PARAMS)
    assert figure.startswith(b"\x89PNG")
    fitted = PARAMS.hu_lut.model_copy(update={"kind": "equalise"})
    table = fit_hu_lut(store, manifest, index, PARAMS.model_copy(update={"hu_lut": fitted}))
    lut = lut_from_table(table)
    # The slices are a ramp from 0 to 100 HU, so between them the table is a straight line; only
    # one pixel of air lies below it.
    assert lut[0] == -1
    assert (lut[:400] < -0.998).all()
    np.testing.assert_allclose(lut[405:496], np.linspace(-0.9, 0.9, 91), atol=0.03)
    assert (lut[501:] == 1).all()
    again = fit_hu_lut(store, manifest, index, PARAMS.model_copy(update={"hu_lut": fitted}))
    pd.testing.assert_frame_equal(table, again)


def test_previews_are_of_training_studies_only(raw: Path) -> None:
    store, manifest, index = prepare(raw)
    labels = index[["sop_instance_uid"]].assign(**dict.fromkeys(CLASSES, 1)).iloc[:4]
    drawn, table = draw_previews(store, manifest, index, labels, PARAMS)
    assert list(drawn) == [f"a/{k:03d}" for k in range(4)] + [f"b/{k:03d}" for k in range(3)]
    assert table["preview"].tolist() == list(drawn)
    assert table["sop_instance_uid"].tolist()[:4] == [f"a_{k:03d}" for k in range(4)]
    assert all(draw().startswith(b"\x89PNG") for draw in drawn.values())
    none = PARAMS.model_copy(update={"previews": PARAMS.previews.model_copy(update={"studies": 0})})
    drawn, table = draw_previews(store, manifest, index, labels, none)
    assert drawn == {}
    assert table.columns.tolist() == ["sop_instance_uid", "study_id", "slice_num", "preview"]


def write_mask(raw: Path, study_id: str) -> None:
    """Type 2 on a block of the level study's middle slices, blood of no type on the last."""
    kji = np.zeros((4, 16, 16), dtype=np.uint8)
    kji[1, 4:8, 4:8] = 2
    kji[2, 4, 4:7] = 2
    kji[3, 8:12, 8:12] = 6
    ras = np.diag([-0.5, -0.5, 5, 1.0])
    ras[:2, 3] = 4
    (raw / "masks").mkdir(exist_ok=True)
    image = nibabel.Nifti1Image(np.ascontiguousarray(kji.transpose(2, 1, 0)), ras)
    nibabel.save(image, raw / "masks" / f"{study_id}.nii.gz")


def test_masks_become_labels_and_lie_on_their_volumes(
    raw: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_mask(raw, "a")
    write_mask(raw, "nobody")
    (raw / "masks" / "b.nii.gz").write_text("no mask")
    _, manifest, index = prepare(raw)
    folder = tmp_path / "masks"
    folder.mkdir()
    store, table = label_masks(index, manifest, raw, folder, PARAMS)
    assert table["sop_instance_uid"].tolist() == [f"a_{k:03d}" for k in range(4)]
    assert table["intraparenchymal"].tolist() == [0, 1, 0, 0]
    assert table["any"].tolist() == [0, 1, 0, 0]
    assert table["unclassified"].tolist() == [False, False, False, True]
    assert {str(table[name].dtype) for name in CLASSES} == {"uint8"}
    assert store.study_ids() == ["a"]
    mask = store.read("a")
    assert mask.shape == (4, 32, 32)
    assert ((mask == 2).sum(axis=(1, 2)) == [0, 16, 3, 0]).all()
    assert "1 of 3 masks" in caplog.text
    assert "nobody" in caplog.text
    assert "b.nii.gz cannot be read" in caplog.text


def test_without_masks_the_table_is_empty_with_its_columns(raw: Path, tmp_path: Path) -> None:
    _, manifest, index = prepare(raw)
    store, table = label_masks(index, manifest, raw, tmp_path / "masks", PARAMS)
    assert table.columns.tolist() == ["sop_instance_uid", *CLASSES, "unclassified"]
    assert table.empty
    assert store.study_ids() == []


def test_pipeline_hands_everything_over_by_the_catalog() -> None:
    pipeline = create_pipeline(Scope(models=("resnet18_400",), folds=(0,)))
    assert pipeline.inputs() == {
        *("slice_index", "labels", "raw_download", "volumes_folder", "masks_folder"),
        "params:volume_prep",
    }
    assert pipeline.all_outputs() == {
        *("volumes", "volume_index", "hu_lut", "hu_lut_figure", "previews"),
        "preview_index",
        *("masks", "mask_labels"),
    }


def test_catalog_entries_load_what_they_saved(raw: Path, tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    source = Path(__file__).parents[2] / "conf" / "base" / "catalog" / "volume_prep.yml"
    entries = OmegaConf.to_container(OmegaConf.load(source))
    for entry in entries.values():
        for key in ("filepath", "path"):
            if key in entry:
                entry[key] = str(tmp_path / entry[key])
    catalog = DataCatalog.from_config(entries)
    index = index_of(raw)
    store, manifest = prepare_volumes(index, raw, catalog.load("volumes_folder"), PARAMS)
    catalog.save("volumes", store)
    catalog.save("volume_index", manifest)
    labels = index[["sop_instance_uid"]].assign(**dict.fromkeys(CLASSES, 0))
    pictures, listed = draw_previews(store, manifest, index, labels, PARAMS)
    catalog.save("previews", pictures)
    catalog.save("preview_index", listed)
    catalog.save("hu_lut", fit_hu_lut(store, manifest, index, PARAMS))
    catalog.save("hu_lut_figure", plot_hu_lut(store, manifest, index, PARAMS))
    assert catalog.load("volumes").study_ids() == ["a", "b", "t"]
    assert sorted(catalog.load("previews")) == catalog.load("preview_index")["preview"].tolist()
    assert catalog.load("previews")["a/000"]().startswith(b"\x89PNG")
    np.testing.assert_array_equal(lut_from_table(catalog.load("hu_lut")), lut_from_knots())
    assert catalog.load("volume_index")["checksum"].tolist() == manifest["checksum"].tolist()
