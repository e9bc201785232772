"""A table in CSV as a Kedro dataset."""

from kedro_datasets.pandas import CSVDataset

from rsna19_kedro.datasets.whole_file import WholeFileMixin


class CsvTableDataset(WholeFileMixin, CSVDataset):
    """``pandas.CSVDataset`` that saves atomically.

    Example:
        ```yaml
        submission_average:
          type: rsna19_kedro.datasets.CsvTableDataset
          filepath: data/07_model_output/submissions/submission_average.csv
          save_args: {index: false, float_format: "%.8f"}
        ```

        ```python
        dataset = CsvTableDataset(filepath="predictions.csv", save_args={"index": False})
        dataset.save(pd.DataFrame({"study_id": ["1.2.3"], "pred_any": [0.25]}))
        ```
    """
