"""The page of new studies: what ``evaluation.viewer`` shows of a prediction."""

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.new_source import series_text, study_titles
from rsna19_kedro.evaluation.viewer import ViewedStudy, viewer_page
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
        series: See ``prepare_new_studies``.
        findings: See ``prepare_new_studies``.
        summary: ``method`` and ``members`` of the results.
        heat: Folder with the evidence maps.
    """
    of_study = predictions[predictions["level"] == "study"].reset_index(drop=True)
    titles = {
        name: ", ".join(filter(None, [title, findings["patients"].get(name)]))
        for name, title in study_titles(of_study["study_id"], dict(findings)).items()
    }
    viewed = []
    for number in np.argsort(-of_study["pred_any"].to_numpy(), kind="stable"):
        name = of_study.at[number, "study_id"]
        own = predictions[(predictions["study_id"] == name) & (predictions["level"] == "slice")]
        probabilities = {label: float(of_study.at[number, f"pred_{label}"]) for label in CLASSES}
        facts = _facts(name, own, series, findings, len(summary["members"]))
        hu, maps = volumes.read(name), read_heat(heat, number)
        viewed.append(ViewedStudy(titles[name], hu, own, probabilities, maps, facts))
    shown = [
        {
            "study": titles.get(row["study_id"], "none"),
            "text": series_text(row),
            "reason": row["reason"],
        }
        for _, row in series.iterrows()
    ]
    failed = [(titles[name], reason) for name, reason in findings["failed"].items()]
    versions = package_versions("rsna19_kedro", "torch", "pydicom")
    facts = [
        ("Combined by", summary["method"]),
        ("Models", ", ".join(summary["members"])),
        ("Files read", str(findings["files"])),
        ("Made", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("Versions", ", ".join(f"{name} {number}" for name, number in versions.items())),
        ("Python", platform.python_version()),
    ]
    return viewer_page(viewed, shown, findings["problems"], failed, facts)


def _facts(
    name: str, own: pd.DataFrame, series: pd.DataFrame, findings: Mapping[str, Any], members: int
) -> list[tuple[str, str]]:
    worst = own.loc[own["pred_any"].idxmax()]
    place = f"{int(worst['slice_num'])} (numbered 0 to {len(own) - 1}, feet to head)"
    facts = [("Most suspicious slice", place)]
    if members > 1:
        spread = f"{100 * worst['spread_any']:.1f} % there (standard deviation, any)"
        facts.append(("Models disagree by", spread))
    facts.append(("StudyInstanceUID", name))
    picked = series.loc[(series["study_id"] == name) & series["picked"], "reason"]
    facts += [("Series", str(reason)) for reason in picked[:1]]
    return facts + [("Remark", text) for text in findings["remarks"].get(name, [])]
