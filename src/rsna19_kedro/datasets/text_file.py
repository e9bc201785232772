"""A text file as a Kedro dataset."""

from kedro_datasets.text import TextDataset

from rsna19_kedro.datasets.whole_file import WholeFileMixin


class TextFileDataset(WholeFileMixin, TextDataset):
    """``text.TextDataset`` that saves atomically; also for HTML and Markdown.

    Example:
        ```yaml
        report:
          type: rsna19_kedro.datasets.TextFileDataset
          filepath: data/08_reporting/report.html
          fs_args:
            open_args_save: {mode: w, encoding: utf-8}
            open_args_load: {mode: r, encoding: utf-8}
        ```

        ```python
        TextFileDataset(filepath="report.html").save("<p>12 studies</p>")
        ```
    """
