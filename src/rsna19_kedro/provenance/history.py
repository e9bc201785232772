"""Time and origin of stored results, by the name of the dataset."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd

from rsna19_kedro.errors import InputError, did_you_mean
from rsna19_kedro.provenance.record import Record, records_in

_SKIPPED: Final = ("volumes", "previews", "resume", "tensorboard")
"""Folders without records; some are a single result."""

_FOLD: Final = re.compile(r"\.fold_\d+\.")


def origin(dataset: str, data: str | Path = "data") -> Record:
    """Return the record of a stored result: its origin, time and machine.

    Args:
        dataset: Its name in the catalog, such as ``resnet18_400.fold_2.oof``.
        data: The project's data folder.

    Raises:
        InputError: The result does not exist or has no record.

    Example:
        ```python
        made = rsna19_kedro.origin("resnet18_400.fold_2.oof")
        made.made, made.identity.parameters, made.identity.inputs
        ```
    """
    known = {record.dataset: record for record in all_records(Path(data))}
    if dataset not in known:
        raise InputError(
            f"{Path(data).resolve()} has no record of {dataset!r}.{did_you_mean(dataset, known)}"
        )
    return known[dataset]


def all_records(data: Path) -> Iterator[Record]:
    """Yield all records in a data folder whose results exist; skips the raw images."""
    for folder, names, _ in os.walk(data):
        is_raw = Path(folder).name == "01_raw" and Path(folder).parent == data
        names[:] = [] if is_raw else sorted(name for name in names if name not in _SKIPPED)
        for _, record in records_in(Path(folder)):
            yield record


def origins(data: Path) -> pd.DataFrame:
    """Tabulate the records of a data folder.

    Returns:
        ``dataset``, ``node``, ``inputs`` (names, a list), ``made`` (ISO 8601), ``seconds``,
        ``machine``, ``version`` of this package, ``accepted`` (a list), oldest first.
    """
    rows = [
        {
            "dataset": record.dataset,
            "node": record.identity.node,
            "inputs": sorted(record.identity.inputs),
            "made": record.made,
            "seconds": record.seconds,
            "machine": record.machine,
            "version": record.versions.get("rsna19_kedro", ""),
            "accepted": list(record.accepted),
        }
        for record in all_records(data)
    ]
    columns = ["dataset", "node", "inputs", "made", "seconds", "machine", "version", "accepted"]
    return pd.DataFrame(rows, columns=columns).sort_values(["made", "dataset"], ignore_index=True)


@dataclass(frozen=True)
class Origin:
    """Origin of a result, or of the results of all folds of a model.

    Attributes:
        dataset: Name; ``resnet18_400.fold_*.oof`` for several folds.
        results: Number of results.
        inputs: Names of the datasets that it was made from; ``fold_*`` for several folds.
        first: Time when the first result was finished, ISO 8601.
        last: Time when the last result was finished.
        seconds: Total time to make them.
        made_with: Machines and versions of this package.
        accepted: Why they were out of date when ``reuse=stored`` accepted them.
    """

    dataset: str
    results: int
    inputs: tuple[str, ...]
    first: str
    last: str
    seconds: float
    made_with: tuple[str, ...]
    accepted: tuple[str, ...]


def by_model(table: pd.DataFrame) -> list[Origin]:
    """Summarise a table of ``origins``: one item for all folds of a model."""
    names = table["dataset"].map(_any_fold)
    summarised = []
    for name, rows in table.groupby(names, sort=False):
        inputs = {_any_fold(dataset) for datasets in rows["inputs"] for dataset in datasets}
        accepted = {cause for causes in rows["accepted"] for cause in causes}
        made_with = (rows["machine"] + " with rsna19_kedro " + rows["version"]).unique()
        summarised.append(
            Origin(
                dataset=str(name),
                results=len(rows),
                inputs=tuple(sorted(inputs)),
                first=str(rows["made"].min()),
                last=str(rows["made"].max()),
                seconds=float(rows["seconds"].sum()),
                made_with=tuple(made_with),
                accepted=tuple(sorted(accepted)),
            )
        )
    return summarised


def _any_fold(dataset: str) -> str:
    return _FOLD.sub(".fold_*.", dataset)
