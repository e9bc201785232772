"""Which node ran when, where and on what: a table and a timeline."""

import logging
import time
from typing import Any

import pandas as pd
from kedro.io import CatalogProtocol

from rsna19_kedro.runners.needs import Needs
from rsna19_kedro.runners.worker import Outcome

logger = logging.getLogger("rsna19_kedro.runs")

TABLE = "schedule"
FIGURE = "schedule_figure"
COLUMNS = {
    "node": "str",
    "kind": "str",
    "gpus": "float64",
    "outcome": "str",
    "start": "datetime64[us, UTC]",
    "end": "datetime64[us, UTC]",
    "seconds": "float64",
    "host": "str",
    "worker": "int64",
    "device": "str",
    "peak_mb": "float64",
    "retries": "int64",
    "run_id": "str",
}
"""Columns of the table; a row is a node's last try. ``worker`` is a process number, 0 if none."""

_COLOURS = {"training": ("#0b5c8a", ""), "prediction": ("#d07a1f", "//"), "other": ("#b9c2c8", "")}
"""By kind; apart in grey, and predictions hatched."""

_LANES_IN = 0.32
_MOST_LANES = 60


class Facts:
    """Collects the rows of the table.

    Args:
        run_id: Kedro's name of the run.
    """

    def __init__(self, run_id: str | None) -> None:
        self._run_id = run_id or ""
        self._rows: dict[str, dict[str, Any]] = {}

    def submitted(self, name: str, needs: Needs, retries: int) -> None:
        """A node was handed out."""
        now = time.time()
        row = {"node": name, "kind": needs.kind, "gpus": needs.gpus, "outcome": "running"}
        row |= {"start": now, "end": now, "host": "", "worker": 0, "device": "", "peak_mb": 0.0}
        self._rows[name] = row | {"retries": retries, "run_id": self._run_id}

    def placed(self, name: str, pid: int, host: str, device: str) -> None:
        """A worker began with it."""
        row = self._rows.get(name)
        if row is not None:
            row |= {"start": time.time(), "worker": pid, "host": host, "device": device}

    def ended(self, outcome: Outcome) -> None:
        """It ended by itself; the worker's own clock counts."""
        self._rows[outcome.node] |= {
            "outcome": "failed" if outcome.error else "done",
            "start": outcome.start,
            "end": outcome.end,
            "host": outcome.host,
            "worker": outcome.pid,
            "device": outcome.device,
            "peak_mb": round(outcome.peak_mb, 1),
        }

    def lost(self, name: str) -> None:
        """Its worker died or was killed."""
        self._rows[name] |= {"outcome": "killed", "end": time.time()}

    def table(self) -> pd.DataFrame:
        """One row a node, by start."""
        table = pd.DataFrame(list(self._rows.values()), columns=list(COLUMNS))
        table["seconds"] = (table["end"] - table["start"]).astype("float64")
        for name in ("start", "end"):
            table[name] = pd.to_datetime(table[name], unit="s", utc=True)
        return table.astype(COLUMNS).sort_values("start", ignore_index=True)

    def save(self, catalog: CatalogProtocol) -> None:
        """Write table and figure if the catalog has entries for them; never stop a run for it."""
        try:
            table = self.table()
            if TABLE in catalog:
                catalog.save(TABLE, table)
            if FIGURE in catalog and len(table):
                catalog.save(FIGURE, draw_timeline(table))
        except Exception:
            logger.warning("The schedule of the run could not be written", exc_info=True)


def draw_timeline(table: pd.DataFrame) -> bytes:
    """Draw a lane a device or CPU slot, with a bar a node.

    Args:
        table: See ``COLUMNS``.

    Returns:
        PNG.
    """
    from matplotlib.patches import Patch

    from rsna19_kedro.evaluation.style import INK, figure_png, new_figure, report_style

    first = table["start"].min()
    begin = (table["start"] - first).dt.total_seconds().to_numpy()
    length = table["seconds"].clip(lower=0.0).to_numpy()
    unit, name = (3600.0, "hours") if (begin + length).max() > 7200 else (1.0, "seconds")
    labels, lanes = _lanes(table, begin, begin + length)
    with report_style():
        height = 1.3 + _LANES_IN * min(len(labels), _MOST_LANES)
        figure, (panel,) = new_figure(1, 1, (9.0, height))
        for kind, (colour, hatch) in _COLOURS.items():
            chosen = (table["kind"] == kind).to_numpy()
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
        bad = (table["outcome"] != "done").to_numpy()
        panel.plot((begin + length)[bad] / unit, lanes[bad], linestyle="", marker="x", color=INK)
        panel.set_yticks(range(len(labels)), labels)
        panel.invert_yaxis()
        panel.set_xlabel(f"{name} since the start (x: failed or killed)")
        handles = [Patch(color=colour, label=kind) for kind, (colour, _) in _COLOURS.items()]
        panel.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
        panel.grid(visible=False, axis="y")
        return figure_png(figure)


def _lanes(table: pd.DataFrame, begin: Any, end: Any) -> tuple[list[str], Any]:
    """A lane a node: the first free one of its machine and device."""
    import numpy as np

    free: dict[tuple[str, str], list[float]] = {}
    taken = []
    for host, device, start, stop in zip(table["host"], table["device"], begin, end, strict=True):
        ends = free.setdefault((host, device), [])
        place = next((n for n, until in enumerate(ends) if until <= start + 1e-3), len(ends))
        if place == len(ends):
            ends.append(0.0)
        ends[place] = stop
        taken.append((host, device, place))
    order = sorted(set(taken), key=lambda lane: (lane[0], lane[1] == "cpu", lane[1], lane[2]))
    several = len({host for host, _, _ in order}) > 1
    labels = [
        f"{host + ' ' if several else ''}{device or 'not started'}{f' ({n + 1})' if n else ''}"
        for host, device, n in order
    ]
    return labels, np.array([order.index(lane) for lane in taken])
