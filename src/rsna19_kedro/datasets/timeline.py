"""The timeline of a run on Ray: a figure of its schedule."""

import pandas as pd

from rsna19_kedro.datasets.png import PngDataset


class TimelineDataset(PngDataset):
    """A figure that is drawn from a table when it is saved, as ``plotly.PlotlyDataset`` does.

    Loads the bytes of the PNG.

    Example:
        ```yaml
        schedule_figure:
          type: rsna19_kedro.datasets.timeline.TimelineDataset
          filepath: data/08_reporting/schedule.png
        ```

        ```python
        schedule = catalog.load("schedule")
        TimelineDataset(filepath="schedule.png").save(schedule)
        ```
    """

    def save(self, data: pd.DataFrame) -> None:
        """Draw the table and write the image atomically.

        Args:
            data: See ``evaluation.timeline.draw_timeline``.
        """
        from rsna19_kedro.evaluation.timeline import draw_timeline

        super().save(draw_timeline(data))
