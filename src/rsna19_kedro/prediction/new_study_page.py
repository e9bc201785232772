"""The page of new studies: a prediction in ``evaluation.viewer``."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pandas as pd

from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ct.volume_store import VolumeStore
from rsna19_kedro.dicom.new_source import volume_name
from rsna19_kedro.dicom.new_study_texts import series_text, title
from rsna19_kedro.evaluation.viewer import ListedStudy, ViewedStudy, viewer_page
from rsna19_kedro.files import atomic_path
from rsna19_kedro.networks.training_data import Band
from rsna19_kedro.prediction.heat import read_heat
from rsna19_kedro.version import package_versions

ONE_PAGE: Final = 20
"""Most studies on one page, which then has about 40 MB."""

_INDEX: Final = "../report.html"
"""The index as seen from the page of a study, as in the catalog."""


def new_study_page(
    volumes: VolumeStore,
    predictions: pd.DataFrame,
    series: pd.DataFrame,
    findings: Mapping[str, Any],
    summary: Mapping[str, Any],
    heat: Path,
    pages: Path,
    *,
    one_page: int = ONE_PAGE,
) -> str:
    """Compose the page with the viewer; for many studies, write one page each and return an index.

    Volumes and heatmaps are read study by study.

    Args:
        volumes: Prepared volumes.
        predictions: Table of ``results_table``.
        series: See ``NewStudies``.
        findings: See ``NewStudies``.
        summary: ``new_summary``, see ``predict_new``.
        heat: Folder with the heatmaps.
        pages: Folder for the pages of the studies, beside the returned one.
        one_page: Most studies on one page.

    Returns:
        The page, or the index.
    """
    records = {record["number"]: record for record in findings["studies"]}
    of_slices = predictions[predictions["level"] == "slice"]
    slices = {int(number): rows for number, rows in of_slices.groupby("study_number")}

    def view(study: ListedStudy) -> ViewedStudy:
        name, rows = volume_name(study.number), slices[study.number]
        facts = _facts(records[study.number], rows, series, len(summary["members"]))
        hu, maps = volumes.read(name), read_heat(heat, name)
        return ViewedStudy(study.number, study.title, hu, rows, maps, facts)

    split = len(slices) > one_page
    listed = _worklist(predictions, records, f"{pages.name}/" if split else None)
    used = [
        {"study": title(records[row["study_number"]]), "text": series_text(row)}
        | {"reason": row["reason"]}
        for _, row in series.iterrows()
    ]
    failed = [(title(record), record["failed"]) for record in records.values() if record["failed"]]
    failed += findings["refused"].items()
    band, rule = Band(summary["trained_on"], summary["band"]), summary["study_rule"]
    facts = _run_facts(summary, band, findings["files"])
    if split:
        for study, links in _with_links(listed):
            rows = [row for row in used if row["study"] == study.title]
            alone = replace(study, page="")
            page = viewer_page(
                [alone], [view(study)], rows, {}, (), facts, band.warning, links, rule
            )
            with atomic_path(pages / Path(study.page).name) as part:
                part.write_text(page, encoding="utf-8")
    viewed = () if split else map(view, listed)
    return viewer_page(
        listed,
        viewed,
        used,
        findings["problems"],
        failed,
        facts,
        band.warning,
        study_rule=rule,
    )


def _worklist(
    predictions: pd.DataFrame, records: Mapping[int, dict[str, Any]], folder: str | None
) -> list[ListedStudy]:
    """List the studies, most suspicious first, with links to their pages if these have a folder."""
    sizes = predictions.loc[predictions["level"] == "slice", "study_number"].value_counts()
    ranked = predictions[predictions["level"] == "study"].sort_values(
        "pred_any", ascending=False, kind="stable"
    )
    listed = []
    for row in ranked.to_dict("records"):
        record = records[number := row["study_number"]]
        listed.append(
            ListedStudy(
                number,
                title(record),
                record["study_date"],
                record["series_description"],
                {label: float(row[f"pred_{label}"]) for label in CLASSES},
                int(sizes[number]),
                int(row["slice_num"]),
                record["remarks"],
                "" if folder is None else f"{folder}{volume_name(number)}.html",
            )
        )
    return listed


def _with_links(
    listed: Sequence[ListedStudy],
) -> Iterator[tuple[ListedStudy, list[tuple[str, str]]]]:
    """Yield each study with the links of its page: the index, the studies before and after it."""
    for index, study in enumerate(listed):
        links = [("All studies", _INDEX)]
        for word, near in (("More", index - 1), ("Less", index + 1)):
            if 0 <= near < len(listed):
                text = f"{word} suspicious: {listed[near].title}"
                links.append((text, Path(listed[near].page).name))
        yield study, links


def _run_facts(summary: Mapping[str, Any], band: Band, files: int) -> list[tuple[str, str]]:
    """Term and text about the run."""
    versions = package_versions("rsna19_kedro", "torch", "pydicom")
    return [
        *(
            [("Combined by", summary["method"])]
            if [summary["method"]] != summary["members"]
            else []
        ),
        ("Models", ", ".join(summary["members"])),
        ("Precision", summary["precision"]),
        *([] if band.warning else [("Training data", band.text)]),
        ("Files read", str(files)),
        ("Created", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("Versions", ", ".join(f"{name} {number}" for name, number in versions.items())),
        ("Python", platform.python_version()),
    ]


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
