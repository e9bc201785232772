"""The ingestion report: files read, files skipped with reasons, and irregularities."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from rsna19_kedro.cohort.download import LAYOUTS, Download
from rsna19_kedro.cohort.report_lines import (
    bullet_list,
    count_line,
    count_values,
    first_names,
    markdown_table,
    number_text,
    sign_text,
    syntax_name,
)
from rsna19_kedro.contracts import CLASSES
from rsna19_kedro.ct.geometry import SAME_POSITION_MM
from rsna19_kedro.dicom.slice_index import SUBSETS

_GAP = 1.25
"""Slice distances of a study that differ by more than this factor count as uneven."""


def ingestion_text(
    download: Download,
    slice_index: pd.DataFrame,
    labels: pd.DataFrame,
    label_findings: Mapping[str, Any],
) -> str:
    """Write the report as Markdown.

    Args:
        download: Locations of the files.
        slice_index: Table of all files.
        labels: Table of all labels.
        label_findings: Fields of ``LabelFindings``.
    """
    used = slice_index[slice_index["slice_num"].notna()]
    sections = [
        "# Ingestion report",
        _source(download, label_findings),
        "## Files, studies and patients",
        _files(slice_index, used),
        "## Skipped and repaired files",
        _problems(slice_index),
        "## Labels",
        _labels(slice_index, used, labels, label_findings),
        "## Headers",
        _headers(used),
        "## Geometry",
        _geometry(used),
        "## Patients",
        _patients(used),
    ]
    return "\n\n".join(sections) + "\n"


def _source(download: Download, findings: Mapping[str, Any]) -> str:
    lines = [f"Layout: {LAYOUTS[download.layout]}."]
    lines += [f"{subset}: `{folder}`" for subset, folder in download.folders]
    lines.append(f"labels: `{download.label_csv}`, {findings['rows']:,} rows")
    if download.stage_1_csv is not None and download.layout == "today":
        lines.append(
            f"`{download.stage_1_csv}` says which slices are train; the other slices of "
            "stage_2_train are test."
        )
    lines += [f"not used, of another layout: `{folder}`" for folder in download.ignored]
    return bullet_list(lines)


def _files(index: pd.DataFrame, used: pd.DataFrame) -> str:
    counts = _counts(index, used)
    text = markdown_table(counts, "subset")
    for name in ("studies", "patients"):
        shared = counts[name].iloc[:-1].sum() - counts.loc["all", name]
        if shared > 0:
            text += f"\n\nThe row `all` counts {name} of several subsets once."
    return text


def _counts(index: pd.DataFrame, used: pd.DataFrame) -> pd.DataFrame:
    subsets = [name for name in SUBSETS if (index["subset"] == name).any()]
    by_subset = used.groupby("subset")
    counts = pd.DataFrame(
        {
            "files": index["subset"].value_counts(),
            "slices used": by_subset.size(),
            "studies": by_subset["study_id"].nunique(),
            "patients": by_subset["patient_id"].nunique(),
        }
    ).reindex(subsets)
    counts = counts.fillna(0).astype(int)
    counts.loc["all"] = [
        len(index),
        len(used),
        used["study_id"].nunique(),
        used["patient_id"].nunique(),
    ]
    return counts


def _problems(index: pd.DataFrame) -> str:
    odd = index[index["problem"].notna()]
    if odd.empty:
        return "None: every file is a usable slice."
    # The kind of a problem is its text up to a number, a colon or a path.
    kind = odd["problem"].str.extract(r"^(.*?)(?:: | of )", expand=False).fillna(odd["problem"])
    lines = []
    for name, rows in odd.groupby(kind):
        kept = int(rows["slice_num"].notna().sum())
        keep = "keeps its slice number" if kept == 1 else "keep their slice numbers"
        numbered = f" ({kept} {keep})" if kept else ""
        shown = (
            f"`{path}` {text}" for path, text in zip(rows["path"], rows["problem"], strict=True)
        )
        files = "file" if len(rows) == 1 else "files"
        lines.append(f"**{name}**: {len(rows):,} {files}{numbered}. {first_names(list(shown))}")
    return bullet_list(lines)


def _labels(
    index: pd.DataFrame, used: pd.DataFrame, labels: pd.DataFrame, findings: Mapping[str, Any]
) -> str:
    # Lookups of 750,000 Arrow strings are many times slower in pandas than those of objects.
    known = labels["sop_instance_uid"].astype(object)
    has_file = known.isin(index["sop_instance_uid"].dropna().astype(object))
    has_use = known.isin(used["sop_instance_uid"].astype(object))
    no_file, no_use = known[~has_file], known[has_file & ~has_use]
    train = used.loc[used["subset"] == "train", "sop_instance_uid"].astype(object)
    no_label = train[~train.isin(known)]
    lines = [
        count_line("slices with labels but without a file", no_file),
        count_line("slices with labels whose file is not usable", no_use),
        count_line("training slices without labels (not in the folds)", no_label),
        count_line(
            "slices whose label is given more than once, with equal values (extra rows dropped: "
            f"{findings['equal_duplicates']:,})",
            findings["duplicated_slices"],
        ),
        count_line(
            "slices whose `any` is not the maximum of the five types (kept as it is)",
            findings["any_mismatch"],
        ),
    ]
    used_labels = labels[has_use]
    share = pd.DataFrame(
        {
            "positive slices": [int(used_labels[name].sum()) for name in CLASSES],
            "%": [
                round(100 * float(used_labels[name].mean()), 2) if len(used_labels) else 0
                for name in CLASSES
            ],
        },
        index=[f"`{name}`" for name in CLASSES],
    )
    return bullet_list(lines) + "\n\n" + markdown_table(share, "class")


def _headers(used: pd.DataFrame) -> str:
    other = used[(used["rows"] != 512) | (used["columns"] != 512)]
    shapes = other.drop_duplicates("study_id").astype({"rows": str, "columns": str})
    shape = (shapes["rows"] + "x" + shapes["columns"]).value_counts()
    wrapped = used[
        (used["bits_stored"] == 12)
        & (used["pixel_representation"] == 0)
        & (used["rescale_intercept"] > -100)
    ]
    lines = [
        count_line(
            "studies that are not 512x512",
            other["study_id"].unique(),
            ", ".join(f"{name}: {count}" for name, count in shape.items()),
            of=used["study_id"].nunique(),
        ),
        count_line(
            "studies whose background may have overflowed 12 bits (volume_prep repairs the slices "
            "concerned)",
            wrapped["study_id"].unique(),
            of=used["study_id"].nunique(),
        ),
        count_values(
            used,
            "pixel format",
            "{} bits, {}",
            bits_stored=number_text,
            pixel_representation=sign_text,
        ),
        count_values(
            used,
            "rescaling to HU",
            "slope {}, intercept {}",
            rescale_slope=number_text,
            rescale_intercept=number_text,
        ),
        count_values(used, "transfer syntax", "{}", transfer_syntax_uid=syntax_name),
        count_values(
            used,
            "window in the header",
            "level {}, width {}",
            window_center=number_text,
            window_width=number_text,
        ),
    ]
    return bullet_list(lines)


def _geometry(used: pd.DataFrame) -> str:
    by_study = used.groupby("study_id")
    tilt = by_study["tilt_deg"].first()
    steps = used["position_mm"].groupby(used["study_id"]).diff()
    steps = steps.where(steps >= SAME_POSITION_MM)
    step = steps.groupby(used["study_id"]).agg(["min", "max"])
    uneven = step.index[step["max"] > _GAP * step["min"]]
    same = used["position_mm"].groupby(used["study_id"]).diff() < SAME_POSITION_MM
    missing = used["row_offset_mm"].isna().groupby(used["study_id"]).any()
    not_axial = tilt.index[tilt.isna() & ~missing]
    sizes = by_study.size()
    studies, plain = len(sizes), "(kept as a plain stack: not aligned)"
    lines = [
        count_line(
            "tilted studies (more than 0.5 degrees)", tilt.index[tilt.abs() > 0.5], of=studies
        ),
        count_line("studies with uneven slice distances", uneven, of=studies),
        count_line(
            "slices at the same position as another slice (their order is taken from "
            "SOPInstanceUID)",
            used.loc[same, "sop_instance_uid"],
        ),
        count_line(
            f"studies with missing positions or orientations {plain}",
            missing.index[missing],
            of=studies,
        ),
        count_line(f"studies that are not axial {plain}", not_axial, of=studies),
        count_line("studies with fewer than 5 slices", sizes.index[sizes < 5], of=studies),
    ]
    return bullet_list(lines) + "\n\n" + _tilt_histogram(tilt.dropna())


def _tilt_histogram(tilt: "pd.Series[float]") -> str:
    if tilt.empty:
        return ""
    edges = np.arange(np.floor(tilt.min() / 5) * 5 - 2.5, tilt.max() + 5, 5)
    counts, _ = np.histogram(tilt, edges)
    rows = {
        f"{low:+.1f} to {low + 5:+.1f}": count
        for low, count in zip(edges, counts, strict=False)
        if count
    }
    return markdown_table(pd.DataFrame({"studies": rows}), "tilt, degrees")


def _patients(used: pd.DataFrame) -> str:
    studies = used.drop_duplicates("study_id")
    several = studies.groupby("patient_id").size()
    anonymous = studies["patient_id"] == "study:" + studies["study_id"]
    patients = {name: pd.unique(rows["patient_id"]) for name, rows in used.groupby("subset")}
    train = set(patients.get("train", ()))
    lines = [
        count_line("patients with several studies", several.index[several > 1]),
        count_line(
            "studies without a PatientID (each counts as a separate patient)",
            studies.loc[anonymous, "study_id"],
            of=len(studies),
        ),
    ]
    for subset in (name for name in SUBSETS[1:] if name in patients):
        both = [patient for patient in patients[subset] if patient in train]
        lines.append(count_line(f"patients of {subset} who are also in train", both))
    return bullet_list(lines)
