"""The schedule of a run: which node ran when, on which machine and device."""

import logging
from collections.abc import Iterable
from dataclasses import asdict

import pandas as pd
from kedro.io import CatalogProtocol

from rsna19_kedro.runners.worker import NodeRun

# One row per node, of its last try. ``worker`` is a process number.
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


def save_schedule(runs: Iterable[NodeRun], run_id: str | None, catalog: CatalogProtocol) -> None:
    """Save a table of the run if the catalog has an entry for it; a failure is only logged.

    Saves the table to both ``schedule`` and ``schedule_figure``; the latter draws it
    (``datasets.timeline``).

    Args:
        runs: The last try of each node.
        run_id: Kedro's name of the run.
        catalog: Catalog of the run.
    """
    try:
        table = pd.DataFrame(map(asdict, runs), columns=list(NodeRun.__annotations__)).assign(
            run_id=run_id or ""
        )
        table["seconds"] = table["end"] - table["start"]
        for name in ("start", "end"):
            table[name] = pd.to_datetime(table[name], unit="s", utc=True)
        table = table[list(COLUMNS)].astype(COLUMNS).sort_values("start", ignore_index=True)
        for name in ("schedule", "schedule_figure"):
            if name in catalog:
                catalog.save(name, table)
    except Exception:
        logger = logging.getLogger("rsna19_kedro.runs")
        logger.warning("The schedule of the run could not be written", exc_info=True)
