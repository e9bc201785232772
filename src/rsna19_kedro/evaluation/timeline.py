"""Timeline of a run on Ray: when and on which device each node ran."""

from typing import Any

import numpy as np
import pandas as pd

from rsna19_kedro.evaluation.style import INK, figure_png, new_figure, report_style

_LOOKS = {"training": ("#0b5c8a", ""), "prediction": ("#d07a1f", "//"), "other": ("#b9c2c8", "")}
"""Colour and hatch by kind of node; distinguishable in greyscale."""

_LANE_INCHES = 0.32
_MAX_LANES = 60


def draw_timeline(schedule: pd.DataFrame) -> bytes:
    """Draw one lane per device or CPU slot, and one bar per node.

    Args:
        schedule: One row per node: ``kind`` (``training``, ``prediction``, ``other``),
            ``outcome`` (marked unless ``done``), ``start``, ``seconds``, ``host``,
            ``device``.

    Returns:
        PNG.
    """
    from matplotlib.patches import Patch

    begin = (schedule["start"] - schedule["start"].min()).dt.total_seconds().to_numpy()
    length = schedule["seconds"].clip(lower=0.0).to_numpy()
    end = begin + length
    unit, name = (3600.0, "hours") if end.max(initial=0.0) > 7200 else (1.0, "seconds")
    labels, lanes = _lanes(schedule, begin, end)
    with report_style():
        height = 1.3 + _LANE_INCHES * min(len(labels), _MAX_LANES)
        figure, (panel,) = new_figure(1, 1, (9.0, height))
        for kind, (colour, hatch) in _LOOKS.items():
            chosen = (schedule["kind"] == kind).to_numpy()
            panel.barh(
                lanes[chosen],
                length[chosen] / unit,
                left=begin[chosen] / unit,
                height=0.8,
                color=colour,
                hatch=hatch,
                edgecolor="white",
                linewidth=0.5,
            )
        bad = (schedule["outcome"] != "done").to_numpy()
        panel.plot(end[bad] / unit, lanes[bad], linestyle="", marker="x", color=INK)
        panel.set_yticks(range(len(labels)), labels)
        panel.invert_yaxis()
        panel.set_xlabel(f"{name} since the start (x: failed or killed)")
        handles = [Patch(color=colour, label=kind) for kind, (colour, _) in _LOOKS.items()]
        panel.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
        panel.grid(visible=False, axis="y")
        return figure_png(figure)


def _lanes(schedule: pd.DataFrame, begin: np.ndarray, end: np.ndarray) -> tuple[list[str], Any]:
    """Labels of the lanes, and the lane of each node: the first free lane of its device."""
    ends: dict[tuple[str, str], list[float]] = {}
    taken = []
    for host, device, start, stop in zip(
        schedule["host"], schedule["device"], begin, end, strict=True
    ):
        free = ends.setdefault((host, device), [])
        lane = next((n for n, until in enumerate(free) if until <= start + 1e-3), len(free))
        free[lane : lane + 1] = [stop]
        taken.append((host, device, lane))
    order = sorted(set(taken), key=lambda lane: (lane[0], lane[1] == "cpu", lane[1], lane[2]))
    several = len({host for host, _, _ in order}) > 1
    labels = [
        f"{host + ' ' if several else ''}{device or 'not started'}{f' ({n + 1})' if n else ''}"
        for host, device, n in order
    ]
    return labels, np.array([order.index(lane) for lane in taken], int)
