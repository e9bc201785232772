"""Tables of new studies with one row per study and per slice, and the same as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import CLASSES, PREDICTIONS
from rsna19_kedro.dicom.new_source import volume_name
from rsna19_kedro.prediction.new_study import SPREAD, StudyResult

STUDY: Final = ("study_number", "study_date", "series_description", "study_id")
SLICE: Final = ("level", "slice_num", "instance_number", "position_mm", "sop_instance_uid")
PERSON: Final = ("patient_name", "patient_id", "path")
"""Only with ``include_phi``."""


def results_table(
    results: Sequence[StudyResult], slices: pd.DataFrame, findings: Mapping[str, Any]
) -> pd.DataFrame:
    """Put the results of all studies into one table.

    Args:
        results: Results of the prepared studies.
        slices: See ``NewStudies``.
        findings: See ``NewStudies``.

    Returns:
        One row per study (``level`` is ``study``: its most suspicious slice, and per class
        the highest probability with its spread), followed by one per slice (``slice``):
        ``STUDY``, ``SLICE``, six ``pred_*``, six ``spread_*``, ``method``, ``precision``,
        ``trained_on`` and ``note`` (see ``Band``) and, if the patient may be named, ``PERSON``.
    """
    by_name = {result.study_id: result for result in results}
    tables = []
    for number, of_study in slices.groupby("study_number", sort=True):
        result = by_name[volume_name(int(number))]
        table = of_study.merge(result.slices, on="slice_num", validate="one_to_one")
        worst = table[table["slice_num"] == result.most_suspicious].iloc[[0]]
        study = worst.drop(columns=[*PREDICTIONS, *SPREAD])
        for name, value in result.study.items():
            row = table[f"pred_{name}"].idxmax()
            study[f"pred_{name}"] = value
            study[f"spread_{name}"] = table.at[row, f"spread_{name}"]
        rows = pd.concat([study.assign(level="study"), table.assign(level="slice")])
        record = findings["studies"][int(number) - 1]
        shared = {name: record[name] for name in (*STUDY, *PERSON) if name in record}
        made = {"method": result.method, "precision": result.precision}
        made |= {"trained_on": result.band.trained_on, "note": result.band.text}
        tables.append(rows.assign(**shared, **made))
    table = pd.concat(tables, ignore_index=True)
    columns = [*STUDY, *SLICE, *PREDICTIONS, *SPREAD, "method", "precision", "trained_on", "note"]
    return table[[*columns, *(name for name in PERSON if name in table)]]


def results_json(
    table: pd.DataFrame, findings: Mapping[str, Any], summary: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the results for other programs, including studies without results.

    Args:
        table: Of ``results_table``.
        findings: See ``NewStudies``.
        summary: ``method``, ``members``, ``precision``, ``trained_on`` and ``band`` of the results.

    Returns:
        ``summary`` and ``studies``. A study has ``number``, ``study_date``,
        ``series_description``, ``study_id``, ``failed`` (``null`` or why there are no
        probabilities), ``remarks``, ``probabilities`` and ``spread`` by class,
        ``most_suspicious_slice``, and ``slices`` with ``slice_num``, ``instance_number``,
        ``position_mm``, ``sop_instance_uid``, ``probabilities`` and ``spread``; ``spread`` is
        ``null`` with one checkpoint.
    """
    studies = []
    for record in findings["studies"]:
        rows = table[table["study_number"] == record["number"]]
        study = dict(record)
        if len(rows):
            highest = rows[rows["level"] == "study"].iloc[0]
            study |= {"most_suspicious_slice": int(highest["slice_num"]), **_numbers(highest)}
            of_slices = rows[rows["level"] == "slice"]
            study["slices"] = [_slice(row) for _, row in of_slices.iterrows()]
        studies.append(study)
    return {"summary": dict(summary), "studies": studies}


def _slice(row: "pd.Series[Any]") -> dict[str, Any]:
    number, position = row["instance_number"], row["position_mm"]
    return {
        "slice_num": int(row["slice_num"]),
        "instance_number": None if pd.isna(number) else int(number),
        "position_mm": None if pd.isna(position) else round(float(position), 3),
        "sop_instance_uid": row["sop_instance_uid"],
        **_numbers(row),
    }


def _numbers(row: "pd.Series[Any]") -> dict[str, Any]:
    spread = {name: round(float(row[f"spread_{name}"]), 6) for name in CLASSES}
    return {
        "probabilities": {name: round(float(row[f"pred_{name}"]), 6) for name in CLASSES},
        "spread": None if np.isnan(spread["any"]) else spread,
    }
