import numpy as np
import pandas as pd
import pytest

from rsna19_kedro.ensemble.submission import check_submission, submission_table

SLICES = pd.DataFrame({"sop_instance_uid": ["ID_b", "ID_a"]})


def test_rows_and_order_by_hand():
    predictions = np.array([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.0, 1.0, 0.0, 0.0, 0.0, 0.9]])
    table = submission_table(SLICES, predictions, eps=1e-5)
    assert list(table.columns) == ["ID", "Label"]
    assert table["ID"].tolist() == [
        f"ID_{uid}_{name}"
        for uid in "ab"
        for name in (
            *("any", "epidural", "intraparenchymal"),
            *("intraventricular", "subarachnoid", "subdural"),
        )
    ]
    by_id = table.set_index("ID")["Label"]
    assert by_id["ID_b_any"] == 0.6
    assert by_id["ID_b_subarachnoid"] == 0.4
    assert by_id["ID_a_epidural"] == 1e-5
    assert by_id["ID_a_intraparenchymal"] == 1 - 1e-5


def test_no_slices_give_no_rows():
    table = submission_table(SLICES.iloc[:0], np.empty((0, 6)), eps=1e-6)
    assert table.empty
    assert list(table.columns) == ["ID", "Label"]


@pytest.mark.parametrize("folder", [".", "nested"])
def test_ids_are_compared_with_the_sample(tmp_path, caplog, folder):
    table = submission_table(SLICES, np.full((2, 6), 0.5), eps=1e-6)
    assert check_submission(table, tmp_path) == []
    path = tmp_path / folder / "stage_2_sample_submission.csv"
    path.parent.mkdir(exist_ok=True)
    table.assign(Label=0.5).to_csv(path, index=False)
    assert check_submission(table, tmp_path) == []
    findings = check_submission(table.iloc[1:], tmp_path)
    assert len(findings) == 1
    assert "1 ID of stage_2_sample_submission.csv missing" in findings[0]
    assert "ID_a_any" in findings[0]
    more = pd.concat([table, pd.DataFrame({"ID": ["ID_c_any"], "Label": [0.1]})])
    assert "1 ID of the submission not in stage_2" in check_submission(more, tmp_path)[0]
    assert "ID_c_any" in caplog.text
