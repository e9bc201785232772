"""The page of new studies: a prediction in ``evaluation.viewer``."""

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.new_source import volume_name
from rsna19_kedro.dicom.new_study_texts import series_text, title
from rsna19_kedro.evaluation.viewer import ViewedStudy, viewer_page
from rsna19_kedro.networks.training_data import Band
from rsna19_kedro.prediction.heat import read_heat
from rsna19_kedro.version import package_versions


def new_study_page(
    volumes: VolumeStore,
    predictions: pd.DataFrame,
    series: pd.DataFrame,
    findings: Mapping[str, Any],
    summary: Mapping[str, Any],
    heat: Path,
) -> str:
    """Compose the page with the viewer.

    Args:
        volumes: Prepared volumes.
        predictions: Table of ``results_table``.
        series: See ``NewStudies``.
        findings: See ``NewStudies``.
        summary: ``method``, ``members``, ``trained_on`` and ``band`` of the results.
        heat: Folder with the heatmaps.
    """
    of_study = predictions[predictions["level"] == "study"]
    records = {record["number"]: record for record in findings["studies"]}
    viewed = []
    for row in of_study.sort_values("pred_any", ascending=False, kind="stable").to_dict("records"):
        record = records[row["study_number"]]
        name = volume_name(record["number"])
        slices = predictions[
            (predictions["study_number"] == record["number"]) & (predictions["level"] == "slice")
        ]
        viewed.append(
            ViewedStudy(
                record["number"],
                title(record),
                record["study_date"],
                record["series_description"],
                volumes.read(name),
                slices,
                {label: float(row[f"pred_{label}"]) for label in CLASSES},
                read_heat(heat, name),
                _facts(record, slices, series, len(summary["members"])),
            )
        )
    series_rows = [
        {
            "study": title(records[row["study_number"]]),
            "text": series_text(row),
            "reason": row["reason"],
        }
        for _, row in series.iterrows()
    ]
    failed = [(title(record), record["failed"]) for record in records.values() if record["failed"]]
    failed += findings["refused"].items()
    band = Band(summary["trained_on"], summary["band"])
    versions = package_versions("rsna19_kedro", "torch", "pydicom")
    facts = [
        ("Combined by", summary["method"]),
        ("Models", ", ".join(summary["members"])),
        *([] if band.warning else [("Training data", band.text)]),
        ("Files read", str(findings["files"])),
        ("Created", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("Versions", ", ".join(f"{name} {number}" for name, number in versions.items())),
        ("Python", platform.python_version()),
    ]
    return viewer_page(viewed, series_rows, findings["problems"], failed, facts, band.warning)


def _facts(
    record: Mapping[str, Any], slices: pd.DataFrame, series: pd.DataFrame, members: int
) -> list[tuple[str, str]]:
    worst = slices.loc[slices["pred_any"].idxmax()]
    where = f"{int(worst['slice_num'])} (numbered 0 to {len(slices) - 1}, feet to head)"
    if pd.notna(worst["instance_number"]):
        where += f", InstanceNumber {int(worst['instance_number'])}"
    if pd.notna(worst["position_mm"]):
        where += f", at {worst['position_mm']:.1f} mm"
    facts = [("Most suspicious slice", where)]
    if members > 1:
        spread = f"{100 * worst['spread_any']:.1f} % on this slice (standard deviation of any)"
        facts.append(("Models disagree by", spread))
    facts.append(("StudyInstanceUID", record["study_id"]))
    if record.get("path"):
        facts.append(("Path", record["path"]))
    picked = series.loc[(series["study_number"] == record["number"]) & series["picked"], "reason"]
    facts += [("Series", str(reason)) for reason in picked[:1]]
    return facts + [("Remark", text) for text in record["remarks"]]
