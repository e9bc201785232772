import pandas as pd

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.evaluation.data_counts import fold_statistics, tag_statistics


def _slices(study: str, patient: str, fold: int, positives: list[list[str]]) -> pd.DataFrame:
    rows = [
        {
            "sop_instance_uid": f"{study}-{number}",
            "study_id": study,
            "slice_num": number,
            "patient_id": patient,
            "fold": fold,
            **{name: int(name in classes) for name in CLASSES},
        }
        for number, classes in enumerate(positives)
    ]
    return pd.DataFrame(rows)


def test_counts_of_folds_by_hand() -> None:
    folds = pd.concat(
        [
            _slices("s1", "p1", 0, [["subdural", "any"], ["subdural", "any"], []]),
            _slices("s2", "p1", 0, [[], []]),
            _slices("s3", "p2", 1, [["epidural", "any"]]),
        ]
    )
    table = fold_statistics(folds).set_index("fold")
    assert list(table.index) == ["0", "1", "all"]
    assert table["slices"].tolist() == [5, 1, 6]
    assert table["studies"].tolist() == [2, 1, 3]
    assert table["patients"].tolist() == [1, 1, 2]
    assert table["slices_subdural"].tolist() == [2, 0, 2]
    assert table["studies_subdural"].tolist() == [1, 0, 1]
    assert table["slices_any"].tolist() == [2, 1, 3]
    assert table["slices_intraventricular"].tolist() == [0, 0, 0]


def _index(**changes: list[object]) -> pd.DataFrame:
    columns: dict[str, list[object]] = {
        "study_id": ["a", "a", "b"],
        "subset": ["train", "train", "test2"],
        "rows": [512, 512, 638],
        "columns": [512, 512, 490],
        "bits_stored": [12, 12, 16],
        "pixel_representation": [0, 0, 1],
        "rescale_intercept": [-1024.0, -1024.0, 0.0],
        "transfer_syntax_uid": ["1.2.840.10008.1.2.1"] * 2 + ["1.2.840.10008.1.2.4.80"],
        "problem": [None, None, None],
    }
    return pd.DataFrame(columns | changes)


VOLUMES = pd.DataFrame({"study_id": ["a"], "slices": [2], "alignment": ["aligned"]})


def _of(table: pd.DataFrame, tag: str) -> dict[str, tuple[int, int]]:
    rows = table[table["tag"] == tag]
    return {row.value: (row.slices, row.studies) for row in rows.itertuples()}


def test_tags_are_counted_in_words() -> None:
    table = tag_statistics(_index(), VOLUMES)
    assert _of(table, "Rows \N{MULTIPLICATION SIGN} columns") == {
        "512 \N{MULTIPLICATION SIGN} 512": (2, 1),
        "638 \N{MULTIPLICATION SIGN} 490": (1, 1),
    }
    assert _of(table, "Pixel format") == {"12 bits, unsigned": (2, 1), "16 bits, signed": (1, 1)}
    assert _of(table, "Rescale intercept") == {"\N{MINUS SIGN}1024 HU": (2, 1), "0 HU": (1, 1)}
    syntaxes = {"Explicit VR Little Endian": (2, 1), "JPEG-LS Lossless Image Compression": (1, 1)}
    assert _of(table, "Transfer syntax") == syntaxes
    assert _of(table, "Problems found while reading") == {"none": (3, 2)}
    assert _of(table, "Alignment") == {"aligned": (2, 1)}


def test_an_unreadable_file_is_counted_without_tags() -> None:
    index = _index(
        study_id=["a", "a", None],
        rows=[512, 512, None],
        pixel_representation=[0, 0, None],
        rescale_intercept=[-1024.0, -1024.0, None],
        transfer_syntax_uid=["1.2.840.10008.1.2.1"] * 2 + [None],
        problem=[None, None, "no DICOM file"],
    )
    table = tag_statistics(index, VOLUMES)
    assert _of(table, "Problems found while reading") == {"none": (2, 1), "no DICOM file": (1, 0)}
    assert _of(table, "Transfer syntax")["not given"] == (1, 0)
    assert _of(table, "Rescale intercept")["not given"] == (1, 0)
