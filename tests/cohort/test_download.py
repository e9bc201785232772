from pathlib import Path

import pytest

from rsna19_kedro.cohort.download import find_download, list_files, own_download
from rsna19_kedro.errors import InputError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


@pytest.mark.parametrize("ending", ["", "_images"])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("base", ["", "rsna-intracranial-hemorrhage-detection", "input/rsna"])
def test_current_layout(tmp_path: Path, ending: str, nested: bool, base: str):
    root = tmp_path / base
    train, test = f"stage_2_train{ending}", f"stage_2_test{ending}"
    inner = {name: f"{name}/{name}" if nested else name for name in (train, test)}
    touch(root, f"{inner[train]}/a.dcm", f"{inner[train]}/b.dcm", f"{inner[test]}/c.dcm")
    touch(root, "stage_2_train.csv")
    download = find_download(tmp_path)
    prefix = f"{base}/" if base else ""
    assert download.layout == "today"
    assert download.label_csv == root / "stage_2_train.csv"
    assert download.stage_1_csv is None
    assert list_files(download) == {
        "train": [f"{prefix}{inner[train]}/a.dcm", f"{prefix}{inner[train]}/b.dcm"],
        "test2": [f"{prefix}{inner[test]}/c.dcm"],
    }


@pytest.mark.parametrize("ending", ["", "_images"])
def test_layout_of_2019(tmp_path: Path, ending: str):
    for stage, name in {"1_train": "a", "1_test": "b", "2_test": "c"}.items():
        touch(tmp_path, f"stage_{stage}{ending}/{name}.dcm")
    touch(tmp_path, "stage_1_train.csv", "stage_2_train.csv")
    download = find_download(tmp_path)
    assert download.layout == "2019"
    assert download.label_csv == tmp_path / "stage_2_train.csv"
    assert download.stage_1_csv is None
    assert list_files(download) == {
        "train": [f"stage_1_train{ending}/a.dcm"],
        "test": [f"stage_1_test{ending}/b.dcm"],
        "test2": [f"stage_2_test{ending}/c.dcm"],
    }


def test_a_stage_1_csv_in_the_current_layout_is_found(tmp_path: Path):
    touch(tmp_path, "stage_2_train/a.dcm", "stage_1_train.csv", "stage_2_train.csv")
    download = find_download(tmp_path)
    assert download.stage_1_csv == tmp_path / "stage_1_train.csv"
    assert download.label_csv == tmp_path / "stage_2_train.csv"


def test_labels_beside_the_raw_folder_itself_are_found(tmp_path: Path):
    touch(tmp_path, "unpacked/stage_2_train/a.dcm", "stage_2_train.csv")
    assert find_download(tmp_path).label_csv == tmp_path / "stage_2_train.csv"


def test_folders_of_both_layouts_count_once(tmp_path: Path):
    touch(tmp_path, "stage_2_train/a.dcm", "stage_1_train_images/a.dcm")
    download = find_download(tmp_path)
    assert list_files(download) == {"train": ["stage_2_train/a.dcm"]}
    assert download.ignored == (tmp_path / "stage_1_train_images",)


def test_hidden_files_are_left_out(tmp_path: Path):
    touch(tmp_path, "stage_2_train/a.dcm", "stage_2_train/.DS_Store", "stage_2_train/.x/b.dcm")
    assert list_files(find_download(tmp_path)) == {"train": ["stage_2_train/a.dcm"]}


def test_missing_raw_folder(tmp_path: Path):
    with pytest.raises(InputError, match=r"nowhere does not exist.*raw_dir"):
        find_download(tmp_path / "nowhere")


def test_empty_raw_folder(tmp_path: Path):
    touch(tmp_path, ".gitkeep")
    with pytest.raises(InputError, match="is empty"):
        find_download(tmp_path)


def test_an_archive_instead_of_the_folder(tmp_path: Path):
    touch(tmp_path, "rsna.zip")
    with pytest.raises(InputError, match=r"rsna\.zip is a file.*unpack"):
        find_download(tmp_path / "rsna.zip")


def test_unknown_layout_error_lists_present_and_expected_names(tmp_path: Path):
    touch(tmp_path, "images/a.dcm", "labels.csv")
    with pytest.raises(InputError) as error:
        find_download(tmp_path)
    for part in ("images/, labels.csv", "stage_2_train/", "stage_1_train/", "own_data"):
        assert part in str(error.value)


def test_empty_stage_folder(tmp_path: Path):
    (tmp_path / "stage_2_train" / "stage_2_train").mkdir(parents=True)
    with pytest.raises(InputError, match=r"stage_2_train contains no files.*'train'"):
        list_files(find_download(tmp_path))


def test_own_data_inside_and_outside_of_the_raw_folder(tmp_path: Path):
    raw, other = tmp_path / "raw", tmp_path / "other"
    touch(raw, "site_a/patient/IM1", "labels.csv")
    touch(other, "x/IM2")
    download = own_download(raw, {"train": ["site_a", str(other)], "test2": []}, "labels.csv")
    assert (download.layout, download.label_csv) == ("own", raw / "labels.csv")
    assert list_files(download) == {"train": sorted([(other / "x/IM2").as_posix(),
                                                  "site_a/patient/IM1"])}  # fmt: skip


def test_own_data_that_overlap_are_listed_once(tmp_path: Path):
    touch(tmp_path, "site/a/IM1")
    download = own_download(tmp_path, {"train": ["site", "site/a"]}, None)
    assert list_files(download) == {"train": ["site/a/IM1"]}


def test_own_data_that_do_not_exist(tmp_path: Path):
    touch(tmp_path, "site/IM1")
    with pytest.raises(InputError, match="nowhere does not exist"):
        own_download(tmp_path, {"train": ["nowhere"]}, None)
    with pytest.raises(InputError, match=r"label CSV .*gone\.csv"):
        own_download(tmp_path, {"train": ["site"]}, "gone.csv")
    with pytest.raises(InputError, match="names no folder"):
        own_download(tmp_path, {"train": []}, None)
