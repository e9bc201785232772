"""A JSON file as a Kedro dataset."""

from kedro_datasets.json import JSONDataset

from rsna19_kedro.datasets.whole_file import WholeFileMixin


class JsonFileDataset(WholeFileMixin, JSONDataset):
    """``json.JSONDataset`` that saves atomically.

    Example:
        ```yaml
        level2_choice:
          type: rsna19_kedro.datasets.JsonFileDataset
          filepath: data/06_models/level2_choice.json
          save_args: {indent: 1}
        ```

        ```python
        JsonFileDataset(filepath="choice.json").save({"candidate": "simplex"})
        ```
    """
